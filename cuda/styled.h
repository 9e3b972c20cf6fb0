// The end of a StyleGAN2 layer and its backward pass on one number, for the kernels of styled_activate and
// filter_styled_activate.
#pragma once

#include "elements.h"

namespace styleclip::cuda {

inline constexpr float kSlopeAbove = 1.41421356f, kSlopeBelow = 0.2f * 1.41421356f;

/// clamp(√2 leaky_relu(sum, 0.2), ±limit); NaN stays.
__device__ __forceinline__ float styled(float sum, float limit) {
  return clamped(sum < 0.0f ? kSlopeBelow * sum : kSlopeAbove * sum, limit);
}

/// The gradient to that sum, from y.
__device__ __forceinline__ float unstyled(float gradient, float y, float limit) {
  const float passed = gradient * (y > 0.0f ? kSlopeAbove : kSlopeBelow);
  return y >= limit || y <= -limit ? 0.0f : passed;
}

/// What a number adds to its gain's gradient, times the gain: the gradient to the sum by gain x, which is the sum less
/// `offset`, noise + bias.
__device__ __forceinline__ float gain_share(float of_sum, float y, float offset, float limit) {
  const float product = of_sum * (y * (y > 0.0f ? 1.0f / kSlopeAbove : 1.0f / kSlopeBelow) - offset);
  return y >= limit || y <= -limit ? 0.0f : product;
}

/// Adds up what the block's threads hold of their group of channels, over the pixels that they share (share_pixels), in
/// order, and writes it. All threads of the block call it, with zeros where they have nothing. `to`: of the first of the
/// block's groups; at most `channels` of it are written.
template <int N, int kThreads>
__device__ __forceinline__ void sum_over_pixels(const float (&mine)[N], const Share& share,
                                                float (&memory)[kThreads * N], std::int64_t channels, float* to) {
  const int width = share.groups_at_once * N;
  if (!share.idle()) {
#pragma unroll
    for (int i = 0; i < N; ++i) memory[share.pixel * width + share.group * N + i] = mine[i];
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < width && at < channels; at += kThreads) {
    float sum = 0.0f;
    for (int pixel = 0; pixel < share.pixels; ++pixel) sum += memory[pixel * width + at];
    to[at] = sum;
  }
  __syncthreads();
}

}  // namespace styleclip::cuda
