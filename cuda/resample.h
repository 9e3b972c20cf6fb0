// y = V x Hᵀ by the bands of V and H (the operator's meaning stands in cpp/include/styleclip/ops.h). Known here: pointers,
// sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "bands.h"
#include "element.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps.
struct ResampleParams {
  const void* images = nullptr;  // [planes, vertical.from, horizontal.from] of `element`
  void* result = nullptr;        // [planes, vertical.to, horizontal.to] of `element`, written
  BandedMatrix vertical, horizontal;
  float* lines = nullptr;  // work memory [planes, vertical.from, horizontal.to]
  std::int64_t planes = 0;
  Element element = Element::kFloat32;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_resample(const ResampleParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
