// Sums of unit differences of unit embeddings, the last step of the relevance sweep (the operator's meaning stands in
// cpp/include/styleclip/ops.h). Known here: pointers, sizes, strides and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "element.h"

namespace styleclip::cuda {

/// The longest embedding that one block holds in registers: eight warps of 512 elements.
inline constexpr std::int64_t kMaxEmbeddingDim = 4096;

/// Device pointers; strides count elements. The innermost dimension is contiguous everywhere.
struct AccumulateDirectionsParams {
  const void* plus = nullptr;  // [channels, images, dim] embeddings of the images with the channel raised, of `element`
  const void* minus = nullptr;    // [channels, images, dim] the same with the channel lowered
  double* sum = nullptr;          // [channels, dim], added to: unit differences, summed over images
  double* magnitude = nullptr;    // [channels], added to: lengths of the differences, each 0..2
  std::int64_t* count = nullptr;  // [channels], added to: images whose difference has a length above 0
  std::int64_t channels = 0;      // 0..2^31 - 1
  std::int64_t images = 0;
  std::int64_t dim = 0;  // 1..kMaxEmbeddingDim
  std::int64_t plus_channel_stride = 0, plus_image_stride = 0;
  std::int64_t minus_channel_stride = 0, minus_image_stride = 0;
  std::int64_t sum_channel_stride = 0;
  Element element = Element::kFloat32;  // type of plus and minus
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's
/// own error. Nothing is launched when there are no channels or no images.
cudaError_t launch_accumulate_directions(const AccumulateDirectionsParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
