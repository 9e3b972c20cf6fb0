// A layer's output for both values of one style channel, for many channels, as a change of the base's (the operator's
// meaning stands in cpp/include/styleclip/ops.h). Known here: pointers, sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps.
struct PerturbChannelsParams {
  const float* planes = nullptr;  // [count, side + 2, side + 2]
  const float* taps = nullptr;    // [count, 9, channels]
  const float* linear = nullptr;  // [side side, channels]
  const float* steps = nullptr;   // [2, count]
  const float* gains = nullptr;   // [2, count, channels]
  const float* bias = nullptr;    // [channels]
  const float* noise = nullptr;   // [side side], or null
  void* y = nullptr;              // [2 count, side side, channels] of `element`, written
  float limit = 0;
  std::int64_t count = 0, channels = 0, side = 0;  // count: style channels; side: 0..2^30
  Element element = Element::kFloat32;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_perturb_channels(const PerturbChannelsParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
