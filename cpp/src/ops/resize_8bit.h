// The implementations of styleclip::resize_8bit (schema and meaning: styleclip/ops.h).
#pragma once

#include <ATen/core/Tensor.h>

namespace styleclip {

inline constexpr char kResize8bit[] = "resize_8bit";
inline constexpr char kResize8bitSchema[] = "resize_8bit(Tensor pixels, Tensor first, Tensor weights) -> Tensor";
using Resize8bitSignature = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&);

/// Throws Error Shape or Argument when the arguments do not fit one another. Does not look at the numbers of `first`.
void check_resize_8bit(const at::Tensor& pixels, const at::Tensor& first, const at::Tensor& weights);

/// Plain tensor algebra in int64, tap by tap, on any device.
at::Tensor resize_8bit_reference(const at::Tensor& pixels, const at::Tensor& first, const at::Tensor& weights);
/// Lines in parallel, the numbers of `inner` side by side.
at::Tensor resize_8bit_cpu(const at::Tensor& pixels, const at::Tensor& first, const at::Tensor& weights);

}  // namespace styleclip
