// An up layer's FIR filter and end (the operator's meaning stands in cpp/include/styleclip/ops.h). Known here: pointers,
// sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps.
struct FilterActivateParams {
  const void* t = nullptr;        // [pictures, side + 1, side + 1, channels] of `element`
  const float* filter = nullptr;  // [4]
  const float* bias = nullptr;    // [channels]
  const float* noise = nullptr;   // [side side], or null
  void* y = nullptr;              // [pictures, side, side, channels] of `element`, written; not t's memory
  float limit = 0;
  std::int64_t pictures = 0, side = 0, channels = 0;  // side: 0..2^30
  Element element = Element::kFloat32;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_filter_activate(const FilterActivateParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
