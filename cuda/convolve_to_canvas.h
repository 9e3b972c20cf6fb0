// A same-size 3x3 convolution with a layer's end, toRGB and its share of CLIP's canvas (the operator's meaning stands
// in cpp/include/styleclip/ops.h). Known here: pointers, sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps; x, weight and y at multiples of 16 bytes.
struct ConvolveToCanvasParams {
  const void* x = nullptr;       // [pictures, side, side, inputs] of `element`
  const void* weight = nullptr;  // [outputs, 3, 3, inputs] of `element`
  void* y = nullptr;             // [pictures, side, side, outputs] of `element`, written; null: nobody asks for it
  const float* bias = nullptr;   // [outputs]
  const float* noise = nullptr;  // [side side], or null
  float limit = 0;

  const float* rgb_weight = nullptr;  // [3, outputs]
  const float* rgb_bias = nullptr;    // [3]
  float rgb_limit = 0;
  const float* matrix = nullptr;  // [size, side], or null for the identity: size is side then
  float* canvas = nullptr;        // [pictures, 3, size, size], added to

  // Scratch, of canvas_scratch()'s sizes (add_to_canvas.h); null where matrix is.
  float* lines = nullptr;             // [pictures, 3, size, side]
  float* band_weights = nullptr;      // [side, size]
  std::int32_t* band_rows = nullptr;  // [2, size]

  std::int64_t pictures = 0, side = 0, size = 0;  // side: 0..2^15, size: 0..2^30
  std::int64_t inputs = 0, outputs = 0;           // 16, 32, 48 or 64
  Element element = Element::kFloat16;            // not kFloat32
};

/// Queues the work on `stream` of the current device. cudaErrorNotSupported where that device lacks the instructions
/// (before compute capability 8.0) or the shared memory; cudaErrorInvalidValue for sizes out of range; else the
/// launch's own error. Nothing is launched where there is nothing to do.
cudaError_t launch_convolve_to_canvas(const ConvolveToCanvasParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
