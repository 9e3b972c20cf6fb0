// y = V x Hᵀ by the bands of V and H (the operator's meaning stands in cpp/include/styleclip/ops.h). Known here: pointers,
// sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"

namespace styleclip::cuda {

/// A matrix [to, from] on the device, and work memory for its bands.
struct ResampleMatrix {
  const float* data = nullptr;
  std::int64_t to = 0, from = 0;
  std::int64_t row_stride = 0, column_stride = 0;  // a transposed matrix is as good
  float* weights = nullptr;                        // [from, to]: tap by tap, of each row from its first on
  std::int32_t* bands = nullptr;                   // [2, to]: the first entry that is not zero; how many up to the last
};

/// Device pointers to memory without gaps.
struct ResampleParams {
  const void* images = nullptr;  // [planes, vertical.from, horizontal.from] of `element`
  void* result = nullptr;        // [planes, vertical.to, horizontal.to] of `element`, written
  ResampleMatrix vertical, horizontal;
  float* lines = nullptr;  // work memory [planes, vertical.from, horizontal.to]
  std::int64_t planes = 0;
  Element element = Element::kFloat32;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_resample(const ResampleParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
