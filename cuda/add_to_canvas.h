// toRGB and its share of CLIP's canvas, with or without a layer's end before it (the operators' meaning stands in
// cpp/include/styleclip/ops.h). Known here: pointers, sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"

namespace styleclip::cuda {

/// Device pointers to memory without gaps.
struct AddToCanvasParams {
  void* y = nullptr;                // [pictures, side, side, channels] of `element`; written only with keep
  const float* weight = nullptr;    // [3, channels]
  const float* rgb_bias = nullptr;  // [3]
  const float* matrix = nullptr;    // [size, side], or null for the identity: size is side then
  float* canvas = nullptr;          // [pictures, 3, size, size], added to
  float rgb_limit = 0;

  // A layer's end before it, with `activates`; else y is active already.
  bool activates = false;
  bool keep = false;             // write the activation back to y
  const float* bias = nullptr;   // [channels]
  const float* noise = nullptr;  // [side side], or null
  float limit = 0;

  // Scratch, of canvas_scratch()'s sizes; null where matrix is.
  float* lines = nullptr;             // [pictures, side, 3, size]
  float* band_weights = nullptr;      // [side, size]
  std::int32_t* band_rows = nullptr;  // [2, size]

  std::int64_t pictures = 0, side = 0, channels = 0, size = 0;  // side, size: 0..2^30
  Element element = Element::kFloat32;
};

struct CanvasScratch {
  std::int64_t lines, band_weights, band_rows;  // elements
};
CanvasScratch canvas_scratch(std::int64_t pictures, std::int64_t side, std::int64_t size);

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_add_to_canvas(const AddToCanvasParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
