// A warp's lanes, and their sum.
#pragma once

#include "device.h"

namespace styleclip::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

/// The sum over the warp's lanes, the same bits in every lane (a butterfly adds the same pairs on both sides).
template <typename T>
__device__ __forceinline__ T sum_of_warp(T value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

}  // namespace styleclip::cuda
