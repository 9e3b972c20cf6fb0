// CUDA C++ on the CPU, for tests: a stated subset under CUDA's own names, so that the sources of cuda/ compile with the
// host's compiler and their index arithmetic, shared memory and barriers run under its sanitizers.
//
// A block's threads are fibers that switch at barriers and shuffles only; which one goes on is drawn from a seed, so
// that a result that hangs on an order shows under some seed. Or they are real threads, under ThreadSanitizer; then
// only barriers order memory, shuffles and votes do not, as CUDA has it.
//
// The subset: blocks of whole warps; shared memory, static and dynamic, which starts as garbage (all bits set: NaN);
// __syncthreads, __syncwarp, shuffles and votes of the full warp; atomicAdd; rsqrt and rounded double arithmetic;
// float16 and bfloat16 as storage; for tensor cores what tensor_cores_host.h has. What is outside it is not declared here
// and does not compile, or throws cuda_host::Error. So does a barrier that a part of the threads does not reach, or
// reaches at another line.
#pragma once

#include <atomic>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <map>
#include <source_location>
#include <type_traits>

#include "block.h"
#include "half_types.h"

// ---------------------------------------------------------------------------------------------------------------------
// Declarations

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ STYLECLIP_SHARED_is_how_to_declare_shared_memory

#define STYLECLIP_SHARED(type, name, ...)                 \
  auto& name = ::cuda_host::shared<type __VA_ARGS__>([] { \
    static const char key = 0;                            \
    return static_cast<const void*>(&key);                \
  }())
#define STYLECLIP_DYNAMIC_SHARED(type, name) type* const name = ::cuda_host::dynamic_shared<type>()
#define STYLECLIP_LAUNCH(kernel, blocks, threads, stream, ...) \
  STYLECLIP_LAUNCH_SHARED(kernel, blocks, threads, 0, stream, __VA_ARGS__)
#define STYLECLIP_LAUNCH_SHARED(kernel, blocks, threads, bytes, stream, ...)                                        \
  ::cuda_host::launch(blocks, threads, bytes, ::cuda_host::opted_in(reinterpret_cast<const void*>(kernel)), stream, \
                      [&] { kernel(__VA_ARGS__); })

#define threadIdx (::cuda_host::self().thread)
#define blockIdx (::cuda_host::self().block->index())
#define blockDim (::cuda_host::self().block->threads())
#define gridDim (::cuda_host::self().block->grid())
inline constexpr int warpSize = cuda_host::kWarpSize;

using cudaStream_t = void*;
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNotSupported = 801
};
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

namespace cuda_host {

inline thread_local cudaError_t last_error = cudaSuccess;

/// The dynamic shared memory that a kernel may have, in bytes: 48 KiB until it is given more.
inline std::size_t& opted_in(const void* kernel) {
  thread_local std::map<const void*, std::size_t> given;
  return given.try_emplace(kernel, kMaxStaticSharedBytes).first->second;
}

/// Runs the grid, block by block in shuffled order, and returns when it is done. Throws what a thread of it threw.
template <typename Kernel>
void launch(dim3 blocks, dim3 threads, std::size_t dynamic_bytes, std::size_t most_bytes, cudaStream_t stream,
            const Kernel& kernel) {
  if (stream != nullptr) throw Error("launch: streams are not emulated");
  if (!is_valid_configuration(blocks, threads)) {
    last_error = cudaErrorInvalidConfiguration;
  } else if (dynamic_bytes > most_bytes) {
    last_error = cudaErrorInvalidValue;
  } else {
    run_grid(blocks, threads, dynamic_bytes, kernel);
  }
}

template <typename T>
T* dynamic_shared() {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
  return static_cast<T*>(self().block->dynamic_shared_memory());
}

template <typename T>
T& shared(const void* key) {
  static_assert(std::is_trivially_copyable_v<T>);
  return *static_cast<T*>(self().block->shared_memory(key, sizeof(T), alignof(T)));
}

template <typename T>
concept Word = std::is_arithmetic_v<T> && sizeof(T) <= sizeof(std::uint64_t);

template <Word T>
std::uint64_t to_bits(T value) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <Word T>
T from_bits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

/// What lane `source` of the warp handed in, or the lane's own value where there is no such lane.
template <Word T>
T shuffle(const char* name, unsigned mask, T value, int source, int width, const std::source_location& at) {
  if (width != kWarpSize) throw Error("shuffles of a width below 32 are not emulated");
  const std::uint64_t bits[] = {to_bits(value)};
  const WarpValues values = self().meet_warp(name, mask, bits, at);
  return source >= 0 && source < kWarpSize ? from_bits<T>(values[source]) : value;
}

}  // namespace cuda_host

inline cudaError_t cudaGetLastError() { return std::exchange(cuda_host::last_error, cudaSuccess); }

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const cuda_host::Options& of_device = cuda_host::options();
  if (device != 0) return cudaErrorInvalidValue;
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? of_device.compute_capability
                                                          : static_cast<int>(of_device.shared_bytes);
  return cudaSuccess;
}

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  if (bytes < 0 || static_cast<std::size_t>(bytes) > cuda_host::options().shared_bytes) return cudaErrorInvalidValue;
  cuda_host::opted_in(reinterpret_cast<const void*>(kernel)) = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}

// ---------------------------------------------------------------------------------------------------------------------
// Barriers, shuffles, votes, atomics

inline void __syncthreads(std::source_location at = std::source_location::current()) {
  cuda_host::self().meet_block("__syncthreads", at);
}

inline void __syncwarp(unsigned mask = 0xffffffffu, std::source_location at = std::source_location::current()) {
  cuda_host::self().sync_warp("__syncwarp", mask, at);
}

template <cuda_host::Word T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              std::source_location at = std::source_location::current()) {
  return cuda_host::shuffle("__shfl_sync", mask, value, source & 31, width, at);
}

template <cuda_host::Word T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  std::source_location at = std::source_location::current()) {
  return cuda_host::shuffle("__shfl_xor_sync", mask, value, cuda_host::self().lane() ^ lane_mask, width, at);
}

template <cuda_host::Word T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 std::source_location at = std::source_location::current()) {
  return cuda_host::shuffle("__shfl_up_sync", mask, value, cuda_host::self().lane() - static_cast<int>(delta), width,
                            at);
}

template <cuda_host::Word T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   std::source_location at = std::source_location::current()) {
  return cuda_host::shuffle("__shfl_down_sync", mask, value, cuda_host::self().lane() + static_cast<int>(delta), width,
                            at);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, std::source_location at = std::source_location::current()) {
  const std::uint64_t vote[] = {predicate != 0 ? 1u : 0u};
  const cuda_host::WarpValues values = cuda_host::self().meet_warp("__ballot_sync", mask, vote, at);
  unsigned ballot = 0;
  for (int lane = 0; lane < cuda_host::kWarpSize; ++lane) ballot |= static_cast<unsigned>(values[lane]) << lane;
  return ballot;
}

inline int __any_sync(unsigned mask, int predicate, std::source_location at = std::source_location::current()) {
  return __ballot_sync(mask, predicate, at) != 0;
}

inline int __all_sync(unsigned mask, int predicate, std::source_location at = std::source_location::current()) {
  return __ballot_sync(mask, predicate, at) == 0xffffffffu;
}

template <typename T>
  requires std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long> ||
           std::same_as<T, float> || std::same_as<T, double>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
}

// ---------------------------------------------------------------------------------------------------------------------
// Arithmetic

/// The first bit that is set, counted from 1; 0 where none is.
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }

inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

/// Rounded products that no compiler fuses into an addition, whatever its -ffp-contract.
inline double __dmul_rn(double a, double b) {
  volatile double product = a * b;
  return product;
}
inline double __dadd_rn(double a, double b) {
  volatile double sum = a + b;
  return sum;
}
inline float __fmul_rn(float a, float b) {
  volatile float product = a * b;
  return product;
}
