// The implementations of styleclip::clip_input (schema and meaning: styleclip/ops.h).
#pragma once

#include <ATen/core/Tensor.h>

namespace styleclip {

inline constexpr char kClipInput[] = "clip_input";
inline constexpr char kClipInputSchema[] =
    "clip_input(Tensor canvas, Tensor mean, Tensor deviation, int patch, Tensor(a!) out) -> ()";
using ClipInputSignature = void(const at::Tensor&, const at::Tensor&, const at::Tensor&, std::int64_t, at::Tensor&);

/// Throws Error Shape or Argument when the arguments do not fit one another; `out` may be float32, float16 or bfloat16 and
/// must be contiguous.
void check_clip_input(const at::Tensor& canvas, const at::Tensor& mean, const at::Tensor& deviation, std::int64_t patch,
                      const at::Tensor& out);

/// Plain tensor algebra in float64, on any device.
void clip_input_reference(const at::Tensor& canvas, const at::Tensor& mean, const at::Tensor& deviation,
                          std::int64_t patch, at::Tensor& out);
/// One pass, pictures' rows in parallel.
void clip_input_cpu(const at::Tensor& canvas, const at::Tensor& mean, const at::Tensor& deviation, std::int64_t patch,
                    at::Tensor& out);

}  // namespace styleclip
