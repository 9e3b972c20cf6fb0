// The implementations of styleclip::resample (schema and meaning: styleclip/ops.h). Whatever lies between a matrix's first
// and last entry of a row that is not zero is its band; any matrix is right, and narrow bands are fast. The operator is its
// own backward one, with the matrices transposed.
#pragma once

#include <ATen/core/Tensor.h>

namespace styleclip {

inline constexpr char kResample[] = "resample";
inline constexpr char kResampleSchema[] = "resample(Tensor images, Tensor vertical, Tensor horizontal) -> Tensor";
using ResampleSignature = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&);

/// Throws Error Shape or Argument when the arguments do not fit one another.
void check_resample(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal);

/// Plain tensor algebra in float64, on any device.
at::Tensor resample_reference(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal);
/// The bands alone, strips of sixteen rows in parallel.
at::Tensor resample_cpu(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal);

}  // namespace styleclip
