// An up layer's FIR filter and end, with a gain, and its backward pass (the operator's meaning stands in
// cpp/include/styleclip/ops.h). Known here: pointers, sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"
#include "styled_sums.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps.
struct FilterStyledActivateParams {
  const void* t = nullptr;        // [pictures, height + 1, width + 1, channels] of `element`
  const float* filter = nullptr;  // [4]
  const float* gain = nullptr;    // [pictures, channels], or null
  const float* bias = nullptr;    // [channels]
  const float* noise = nullptr;   // [height width], or with noise_each [pictures, height width], or null
  bool noise_each = false;
  void* y = nullptr;  // [pictures, height, width, channels] of `element`, written; not t's memory
  float limit = 0;
  std::int64_t pictures = 0, height = 0, width = 0, channels = 0;
  Element element = Element::kFloat32;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_filter_styled_activate(const FilterStyledActivateParams& params, cudaStream_t stream);

struct FilterStyledGradients {
  StyledGradients end;            // pixels: height width
  const float* filter = nullptr;  // [4]
  void* to_t = nullptr;           // [pictures, height + 1, width + 1, channels] of `element`, or null
  std::int64_t height = 0, width = 0;
};

/// Parts of a picture whose sums the backward pass keeps at most (StyledGradients).
std::int64_t filter_styled_activate_parts(std::int64_t height, std::int64_t width, std::int64_t channels);

/// The same for the backward pass. Where there are no numbers, the caller zeroes what is wanted.
cudaError_t launch_filter_styled_activate_backward(const FilterStyledGradients& params, cudaStream_t stream);

}  // namespace styleclip::cuda
