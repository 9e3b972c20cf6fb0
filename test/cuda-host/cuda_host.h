// CUDA C++ on the CPU, for tests: a stated subset under CUDA's own names, so that the sources of cuda/ compile with the
// host's compiler and their index arithmetic, shared memory and barriers run under its sanitizers.
//
// A block's threads are fibers that switch at barriers and shuffles only; which one goes on is drawn from a seed, so
// that a result that hangs on an order shows under some seed. Or they are real threads, under ThreadSanitizer; then
// only barriers order memory, shuffles and votes do not, as CUDA has it.
//
// The subset: blocks of whole warps; static shared memory, which starts as garbage (all bits set: NaN); __syncthreads,
// __syncwarp, shuffles and votes of the full warp; atomicAdd; rsqrt and rounded double arithmetic; float16 and bfloat16
// as storage. What is outside it is not declared here and does not compile, or throws cuda_host::Error. So does a
// barrier that a part of the threads does not reach, or reaches at another line.
#pragma once

#include <atomic>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
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
#define STYLECLIP_LAUNCH(kernel, blocks, threads, stream, ...) \
  ::cuda_host::launch(blocks, threads, stream, [&] { kernel(__VA_ARGS__); })

#define threadIdx (::cuda_host::self().thread)
#define blockIdx (::cuda_host::self().block->index())
#define blockDim (::cuda_host::self().block->threads())
#define gridDim (::cuda_host::self().block->grid())
inline constexpr int warpSize = cuda_host::kWarpSize;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9 };

namespace cuda_host {

inline thread_local cudaError_t last_error = cudaSuccess;

/// Runs the grid, block by block in shuffled order, and returns when it is done. Throws what a thread of it threw.
template <typename Kernel>
void launch(dim3 blocks, dim3 threads, cudaStream_t stream, const Kernel& kernel) {
  if (stream != nullptr) throw Error("launch: streams are not emulated");
  if (!is_valid_configuration(blocks, threads)) {
    last_error = cudaErrorInvalidConfiguration;
    return;
  }
  run_grid(blocks, threads, kernel);
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
  const WarpValues values = self().meet_warp(name, mask, to_bits(value), at);
  return source >= 0 && source < kWarpSize ? from_bits<T>(values[source]) : value;
}

}  // namespace cuda_host

inline cudaError_t cudaGetLastError() { return std::exchange(cuda_host::last_error, cudaSuccess); }

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
  const cuda_host::WarpValues values = cuda_host::self().meet_warp("__ballot_sync", mask, predicate != 0, at);
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
