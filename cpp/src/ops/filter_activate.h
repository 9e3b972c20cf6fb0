// The implementations of styleclip::filter_activate (schema and meaning: styleclip/ops.h). NaN and infinity reach the
// pixels whose 4x4 window holds them.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace styleclip {

inline constexpr char kFilterActivate[] = "filter_activate";
inline constexpr char kFilterActivateSchema[] =
    "filter_activate(Tensor t, Tensor filter, Tensor bias, Tensor? noise, float limit, Tensor(a!) y) -> ()";
using FilterActivateSignature = void(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                     const std::optional<at::Tensor>&, double, at::Tensor&);

/// Throws Error Shape or Argument when the arguments do not fit one another.
void check_filter_activate(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& bias,
                           const at::Tensor& noise, double limit, const at::Tensor& y);

/// Plain tensor algebra in float64, on any device.
void filter_activate_reference(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& bias,
                               const at::Tensor& noise, double limit, at::Tensor& y);
/// One pass, rows of all pictures in parallel.
void filter_activate_cpu(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& bias, const at::Tensor& noise,
                         double limit, at::Tensor& y);

}  // namespace styleclip
