// The end of a layer in place (the operator's meaning stands in cpp/include/styleclip/ops.h). Known here: pointers, sizes
// and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps.
struct ActivateParams {
  void* y = nullptr;             // [pictures, pixels, channels] of `element`, in place
  const float* bias = nullptr;   // [channels]
  const float* noise = nullptr;  // [pixels], or null
  float limit = 0;
  std::int64_t pictures = 0, pixels = 0, channels = 0;
  Element element = Element::kFloat32;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_activate(const ActivateParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
