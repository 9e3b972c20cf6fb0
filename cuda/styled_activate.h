// The end of a StyleGAN2 layer, with a gain, and its backward pass (the operator's meaning stands in
// cpp/include/styleclip/ops.h). Known here: pointers, sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"
#include "styled_sums.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps.
struct StyledActivateParams {
  const void* x = nullptr;       // [pictures, pixels, channels] of `element`
  const float* gain = nullptr;   // [pictures, channels], or null
  const float* bias = nullptr;   // [channels]
  const float* noise = nullptr;  // [pixels], or with noise_each [pictures, pixels], or null
  bool noise_each = false;
  void* y = nullptr;  // as x; may be x
  float limit = 0;
  std::int64_t pictures = 0, pixels = 0, channels = 0;
  Element element = Element::kFloat32;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_styled_activate(const StyledActivateParams& params, cudaStream_t stream);

/// Parts of a picture whose sums the backward pass keeps (StyledGradients).
std::int64_t styled_activate_parts(std::int64_t pixels);

/// The same for the backward pass. to_x as gradient, or null where it is not wanted. Where there are no numbers, the caller
/// zeroes the sums.
cudaError_t launch_styled_activate_backward(const StyledGradients& params, void* to_x, cudaStream_t stream);

}  // namespace styleclip::cuda
