// The types that the kernels read and write, and groups of neighbouring elements moved by one instruction. Arithmetic is
// float whatever the type.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "device.h"
#include "element.h"

namespace styleclip::cuda {

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16(x);
}

/// N neighbours of T, aligned for one load or store.
template <typename T, int N>
struct alignas(N * sizeof(T)) Group {
  T element[N];
};

template <int N, typename T>
__device__ __forceinline__ void load(const T* __restrict__ from, float (&to)[N]) {
  const Group<T, N> group = *reinterpret_cast<const Group<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = to_float(group.element[i]);
}

template <int N, typename T>
__device__ __forceinline__ void store(const float (&from)[N], T* __restrict__ to) {
  Group<T, N> group;
#pragma unroll
  for (int i = 0; i < N; ++i) group.element[i] = from_float<T>(from[i]);
  *reinterpret_cast<Group<T, N>*>(to) = group;
}

/// Whether rows of `count` elements that follow one another from `pointer` on can be moved N at a time.
template <typename T, int N>
bool in_groups(const void* pointer, std::int64_t count) {
  return count % N == 0 && reinterpret_cast<std::uintptr_t>(pointer) % (N * sizeof(T)) == 0;
}

/// function<T>() with the type that is meant; a launcher's way from its params to its kernel.
template <typename Function>
cudaError_t with_element(Element element, const Function& function) {
  switch (element) {
    case Element::kFloat32: return function.template operator()<float>();
    case Element::kFloat16: return function.template operator()<__half>();
    case Element::kBFloat16: return function.template operator()<__nv_bfloat16>();
  }
  return cudaErrorInvalidValue;
}

/// function<T, N>() with the type that is meant and the channels that a thread moves at once: kBytes of them where all of
/// `tensors`, of so many channels a pixel, allow it (a null pointer does), else one.
template <int kBytes = 16, typename Function>
cudaError_t with_groups(Element element, std::int64_t channels, std::initializer_list<const void*> tensors,
                        const Function& function) {
  return with_element(element, [&]<typename T>() {
    constexpr int kGroup = kBytes / sizeof(T);
    bool grouped = true;
    for (const void* tensor : tensors) grouped = grouped && in_groups<T, kGroup>(tensor, channels);
    return grouped ? function.template operator()<T, kGroup>() : function.template operator()<T, 1>();
  });
}

/// clamp(leaky_relu(x, 0.2), ±limit). Comparisons, because fmaxf and fminf would drop NaN.
__device__ __forceinline__ float activated(float x, float limit) {
  const float y = x < 0.0f ? 0.2f * x : x;
  return y > limit ? limit : y < -limit ? -limit : y;
}

__device__ __forceinline__ float clamped(float x, float limit) { return x > limit ? limit : x < -limit ? -limit : x; }

/// How a block's threads share channels-last pixels: a thread keeps to one group of channels (and so keeps that group's
/// bias or taps in registers) and takes every `pixels`-th pixel. Where a pixel has more groups than the block threads, it
/// goes on to `group + groups_at_once`.
struct Share {
  int group, pixel;            // of this thread
  int groups_at_once, pixels;  // of the block
  /// No work for the threads that are left over.
  __device__ bool idle() const { return pixel >= pixels; }
};

__device__ __forceinline__ Share share_pixels(std::int64_t groups) {
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  const int at_once = groups < threads ? static_cast<int>(groups) : threads;
  return {thread % at_once, thread / at_once, at_once, threads / at_once};
}

/// The pixels that a block of so many threads takes at once: Share's `pixels`, for a launcher.
inline std::int64_t pixels_at_once(std::int64_t groups, int threads) { return groups < threads ? threads / groups : 1; }

/// The most blocks of a one-dimensional grid.
inline constexpr std::int64_t kMaxBlocks = 0x7fffffff;
/// Whether a · b · c numbers, a thread each, fit into a grid of blocks of so many threads. Sizes of 0 and above, whose product
/// may be beyond 64 bits.
inline bool fits_grid(std::int64_t a, std::int64_t b, std::int64_t c, int threads) {
  return b == 0 || c == 0 || a <= kMaxBlocks * threads / b / c;
}

/// a / b, rounded up; right for any a of 0 and above.
inline std::int64_t quotient_up(std::int64_t a, std::int64_t b) { return a / b + (a % b == 0 ? 0 : 1); }

/// Whether no size is below zero, and memory of so many elements can be had at all: 2^57 are more than any address has bits
/// for. Indices then stay within 64 bits, with room for edges of some rows and columns and for taps.
inline bool countable(std::initializer_list<std::int64_t> sizes) {
  std::int64_t room = std::int64_t{1} << 57;
  bool empty = false;
  for (const std::int64_t size : sizes) {
    if (size < 0) return false;
    if (size == 0) empty = true;
    if (size > 0) room /= size;
  }
  return empty || room > 0;
}

}  // namespace styleclip::cuda
