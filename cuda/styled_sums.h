// The gradients of a layer's end that are sums (the operators' meaning stands in cpp/include/styleclip/ops.h): what the
// backward passes of styled_activate and filter_styled_activate share. Known here: pointers, sizes and a stream; no tensor,
// no libtorch.
#pragma once

#include <cstdint>

#include "element.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps. What is null is left out or not wanted.
struct StyledGradients {
  const void* gradient = nullptr;  // [pictures, pixels, channels] of `element`, to y
  const void* y = nullptr;         // the same
  const float* gain = nullptr;     // [pictures, channels], or null
  const float* bias = nullptr;     // [channels]
  const float* noise = nullptr;    // [pixels], or with noise_each [pictures, pixels], or null
  bool noise_each = false;
  float limit = 0;
  float* to_gain = nullptr;   // [pictures, channels]; NaN where gain is 0
  float* to_bias = nullptr;   // [channels]
  float* to_noise = nullptr;  // as noise
  // Work memory of [pictures, parts, channels] where to_gain and to_bias are wanted: sums over parts of the pixels.
  float* gain_parts = nullptr;
  float* bias_parts = nullptr;
  std::int64_t pictures = 0, pixels = 0, channels = 0;
  Element element = Element::kFloat32;
};

/// Whether what is wanted fits into CUDA's grids: asked before the first launch of a backward pass, so that a refused one
/// launches nothing.
bool styled_sums_fit(const StyledGradients& params);
/// to_gain and to_bias from `parts` sums of each picture, in float64 and in order; to_noise from gradient and y.
/// cudaErrorInvalidValue where they do not fit; else a launch's own error.
cudaError_t launch_styled_sums(const StyledGradients& params, std::int64_t parts, cudaStream_t stream);

}  // namespace styleclip::cuda
