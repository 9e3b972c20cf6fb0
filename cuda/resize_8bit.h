// One pass of an 8-bit resize (the operator's meaning stands in cpp/include/styleclip/ops.h). Known here: pointers, sizes and
// a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "device.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps.
struct Resize8bitParams {
  const std::uint8_t* pixels = nullptr;   // [outer, length, inner]
  const std::int32_t* first = nullptr;    // [out]
  const std::int32_t* weights = nullptr;  // [out, taps]
  std::uint8_t* result = nullptr;         // [outer, out, inner], written
  std::int64_t outer = 0, length = 0, inner = 0, out = 0, taps = 0;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_resize_8bit(const Resize8bitParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
