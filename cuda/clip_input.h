// CLIP's input from a canvas (the operator's meaning stands in cpp/include/styleclip/ops.h). Known here: pointers, sizes and
// a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps.
struct ClipInputParams {
  const float* canvas = nullptr;        // [pictures, 3, size, size] in [-1, 1]
  const float* mean = nullptr;          // [3]
  const float* deviation = nullptr;     // [3]
  void* out = nullptr;                  // [pictures, size / patch, size / patch, 3, patch, patch] of `element`, written
  std::int64_t pictures = 0, size = 0;  // size: 0..2^30
  std::int64_t patch = 0;               // divides size; `size` itself for the picture as it is
  Element element = Element::kFloat32;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_clip_input(const ClipInputParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
