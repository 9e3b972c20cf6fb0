// The kernels of preprocessing as implementations of its operators on CUDA tensors; see register.cpp for the rule.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "resize_8bit.h"

namespace styleclip::cuda {
namespace {

at::Tensor resize_8bit(const at::Tensor& pixels, const at::Tensor& first, const at::Tensor& weights) {
  // Validate.
  TORCH_CHECK_VALUE(pixels.dim() == 3 && first.dim() == 1 && weights.dim() == 2 && weights.size(0) == first.size(0),
                    "resize_8bit: pixels is ", pixels.sizes(), ", first ", first.sizes(), ", weights ", weights.sizes(),
                    ", not [outer, length, inner], [out] and [out, taps]");
  TORCH_CHECK_VALUE(pixels.size(1) > 0 || first.size(0) == 0, "resize_8bit: pixels has no length");
  TORCH_CHECK_TYPE(pixels.scalar_type() == at::kByte, "resize_8bit: pixels is ", pixels.scalar_type(), ", not uint8");
  TORCH_CHECK_TYPE(first.scalar_type() == at::kInt && weights.scalar_type() == at::kInt,
                   "resize_8bit: first and weights are not int32");
  TORCH_CHECK_VALUE(first.device() == pixels.device() && weights.device() == pixels.device(),
                    "resize_8bit: the arguments are on different devices");
  const c10::cuda::CUDAGuard guard(pixels.device());

  // Check layout.
  const at::Tensor from = pixels.contiguous(), places = first.contiguous(), taps = weights.contiguous();

  // Allocate.
  at::Tensor result = at::empty({pixels.size(0), first.size(0), pixels.size(2)}, pixels.options());

  // Fill params.
  Resize8bitParams params;
  params.pixels = from.const_data_ptr<std::uint8_t>();
  params.first = places.const_data_ptr<std::int32_t>();
  params.weights = taps.const_data_ptr<std::int32_t>();
  params.result = result.mutable_data_ptr<std::uint8_t>();
  params.outer = pixels.size(0);
  params.length = pixels.size(1);
  params.inner = pixels.size(2);
  params.out = first.size(0);
  params.taps = weights.size(1);

  // Launch on the current stream.
  C10_CUDA_CHECK(launch_resize_8bit(params, c10::cuda::getCurrentCUDAStream()));
  return result;
}

}  // namespace
}  // namespace styleclip::cuda

TORCH_LIBRARY_IMPL(styleclip, CUDA, library) { library.impl("resize_8bit", &styleclip::cuda::resize_8bit); }
