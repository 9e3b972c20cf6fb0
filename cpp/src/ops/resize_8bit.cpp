// The readable implementation of resize_8bit, the check that all of them share, and the call of the operator.
#include "ops/resize_8bit.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include "ops/arguments.h"
#include "ops/registry.h"
#include "styleclip/ops.h"

namespace styleclip {

void check_resize_8bit(const at::Tensor& pixels, const at::Tensor& first, const at::Tensor& weights) {
  const Arguments arguments(kResize8bit);
  if (!pixels.defined() || pixels.dim() != 3) arguments.refuse_shape("pixels is not [outer, length, inner].");
  if (!first.defined() || first.dim() != 1) arguments.refuse_shape("first is not [out].");
  if (!weights.defined() || weights.dim() != 2 || weights.size(0) != first.size(0))
    arguments.refuse_shape("weights is not [out, taps].");
  if (pixels.size(1) == 0 && first.size(0) > 0) arguments.refuse_shape("pixels has no length.");
  if (pixels.scalar_type() != at::kByte) arguments.refuse("pixels is not uint8.");
  if (first.scalar_type() != at::kInt || weights.scalar_type() != at::kInt) {
    arguments.refuse("first and weights are not int32.");
  }
  if (first.device() != pixels.device() || weights.device() != pixels.device()) {
    arguments.refuse("the arguments are on different devices.");
  }
}

at::Tensor resize_8bit_reference(const at::Tensor& pixels, const at::Tensor& first, const at::Tensor& weights) {
  check_resize_8bit(pixels, first, weights);
  const std::int64_t out = first.size(0), last = pixels.size(1) - 1;
  at::Tensor sums = at::full({pixels.size(0), out, pixels.size(2)}, std::int64_t{1} << (kResize8bitBits - 1),
                             pixels.options().dtype(at::kLong));
  for (std::int64_t tap = 0; tap < weights.size(1); ++tap) {
    const at::Tensor place = first.to(at::kLong) + tap;
    const at::Tensor weight = weights.select(1, tap).to(at::kLong) * place.le(last).to(at::kLong);
    sums += pixels.index_select(1, place.clamp(0, last)).to(at::kLong) * weight.view({1, out, 1});
  }
  return sums.__rshift__(kResize8bitBits).clamp(0, 255).to(at::kByte);
}

at::Tensor resize_8bit(const at::Tensor& pixels, const at::Tensor& first, const at::Tensor& weights) {
  if (use_reference(kResize8bit, pixels)) return resize_8bit_reference(pixels, first, weights);
  static const auto op = find_operator(kResize8bit).typed<Resize8bitSignature>();
  return op.call(pixels, first, weights);
}

}  // namespace styleclip
