// The kernels as implementations of the operators on CUDA tensors: with the other register*.cpp and arguments.h what knows
// both libtorch and CUDA. Every operator takes the same five steps: validate, check layout, allocate, fill params, launch on
// the current stream.
//
// The schemas are the core's (cpp/src/ops), which defines them before it opens this library. Only c10/cuda is included:
// ATen/cuda wants headers of libraries that no kernel of ours uses.
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "accumulate_directions.h"
#include "arguments.h"

namespace styleclip::cuda {
namespace {

/// Rows as the kernel reads them: the innermost dimension without gaps.
at::Tensor with_whole_rows(const at::Tensor& embeddings) {
  return embeddings.size(2) == 1 || embeddings.stride(2) == 1 ? embeddings : embeddings.contiguous();
}

void accumulate_directions(const at::Tensor& plus, const at::Tensor& minus, at::Tensor& sum, at::Tensor& magnitude,
                           at::Tensor& count) {
  // Validate.
  const Arguments arguments("accumulate_directions", plus);
  arguments.element("plus", plus, 3);
  const std::int64_t channels = plus.size(0), dim = plus.size(2);
  arguments.placed("minus", minus, plus.sizes(), plus.scalar_type());
  TORCH_CHECK_VALUE(dim >= 1 && dim <= kMaxEmbeddingDim, "accumulate_directions: embeddings of ", dim,
                    " numbers; the CUDA kernel takes 1 to ", kMaxEmbeddingDim);
  arguments.placed("sum", sum, {channels, dim}, at::kDouble);
  arguments.placed("magnitude", magnitude, {channels}, at::kDouble);
  arguments.placed("count", count, {channels}, at::kLong);
  const c10::cuda::CUDAGuard guard(plus.device());

  // Check layout.
  const at::Tensor plus_rows = with_whole_rows(plus);
  const at::Tensor minus_rows = with_whole_rows(minus);

  // Allocate: only for outputs with gaps, which are copied back at the end.
  const at::Tensor dense_sum = sum.contiguous();
  const at::Tensor dense_magnitude = magnitude.contiguous();
  const at::Tensor dense_count = count.contiguous();

  // Fill params.
  AccumulateDirectionsParams params;
  params.plus = plus_rows.const_data_ptr();
  params.minus = minus_rows.const_data_ptr();
  params.sum = dense_sum.mutable_data_ptr<double>();
  params.magnitude = dense_magnitude.mutable_data_ptr<double>();
  params.count = dense_count.mutable_data_ptr<std::int64_t>();
  params.channels = channels;
  params.images = plus.size(1);
  params.dim = dim;
  params.plus_channel_stride = plus_rows.stride(0);
  params.plus_image_stride = plus_rows.stride(1);
  params.minus_channel_stride = minus_rows.stride(0);
  params.minus_image_stride = minus_rows.stride(1);
  params.sum_channel_stride = dim;
  params.element = element_of(plus.scalar_type());

  // Launch on the current stream.
  C10_CUDA_CHECK(launch_accumulate_directions(params, c10::cuda::getCurrentCUDAStream()));

  if (!dense_sum.is_same(sum)) sum.copy_(dense_sum);
  if (!dense_magnitude.is_same(magnitude)) magnitude.copy_(dense_magnitude);
  if (!dense_count.is_same(count)) count.copy_(dense_count);
}

}  // namespace
}  // namespace styleclip::cuda

TORCH_LIBRARY_IMPL(styleclip, CUDA, library) {
  library.impl("accumulate_directions", &styleclip::cuda::accumulate_directions);
}
