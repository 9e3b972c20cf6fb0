// The implementations of styleclip::activate (schema and meaning: styleclip/ops.h). NaN stays NaN, infinity is clamped.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace styleclip {

inline constexpr char kActivate[] = "activate";
inline constexpr char kActivateSchema[] = "activate(Tensor(a!) y, Tensor bias, Tensor? noise, float limit) -> ()";
using ActivateSignature = void(at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, double);

/// Throws Error Shape or Argument when the arguments do not fit one another.
void check_activate(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit);

/// Plain tensor algebra in float64, on any device.
void activate_reference(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit);
/// One pass in place, pixels in parallel.
void activate_cpu(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit);

}  // namespace styleclip
