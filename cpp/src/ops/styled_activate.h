// The implementations of styleclip::styled_activate and its backward pass (schema and meaning: styleclip/ops.h).
//
// The backward pass sees y and not x: the sign of y tells the slope, |y| at the limit that the element was clamped, and
// gain x = y / (√2 slope) − noise − bias. So x may be freed, or be overwritten, as soon as y is there. Where gain is 0, as
// no demodulation makes it, x cannot be had again: the gradient to that gain, Σ x times what comes from above, is NaN, and
// not a number that looks like one.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <tuple>

namespace styleclip {

inline constexpr char kStyledActivate[] = "styled_activate";
inline constexpr char kStyledActivateSchema[] =
    "styled_activate(Tensor x, Tensor? gain, Tensor bias, Tensor? noise, float limit) -> Tensor";
using StyledActivateSignature = at::Tensor(const at::Tensor&, const std::optional<at::Tensor>&, const at::Tensor&,
                                           const std::optional<at::Tensor>&, double);

inline constexpr char kStyledActivateBackward[] = "styled_activate_backward";
inline constexpr char kStyledActivateBackwardSchema[] =
    "styled_activate_backward(Tensor gradient, Tensor y, Tensor? gain, Tensor bias, Tensor? noise, float limit, "
    "bool[4] wanted) -> (Tensor x, Tensor gain, Tensor bias, Tensor noise)";
/// Which gradients are wanted: x, gain, bias, noise. The others come back undefined.
using Wanted = std::array<bool, 4>;
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using StyledActivateBackwardSignature = Gradients(const at::Tensor&, const at::Tensor&,
                                                  const std::optional<at::Tensor>&, const at::Tensor&,
                                                  const std::optional<at::Tensor>&, double, Wanted);

/// Throws Error Shape or Argument when the arguments do not fit one another.
void check_styled_activate(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                           double limit);
void check_styled_activate_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& gain,
                                    const at::Tensor& bias, const at::Tensor& noise, double limit, Wanted wanted);

/// Plain tensor algebra in float64, on any device.
at::Tensor styled_activate_reference(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias,
                                     const at::Tensor& noise, double limit);
Gradients styled_activate_backward_reference(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& gain,
                                             const at::Tensor& bias, const at::Tensor& noise, double limit,
                                             Wanted wanted);

/// One pass each, blocks of rows in parallel; the gradients' sums are the same bits whatever the number of threads.
at::Tensor styled_activate_cpu(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias,
                               const at::Tensor& noise, double limit);
Gradients styled_activate_backward_cpu(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& gain,
                                       const at::Tensor& bias, const at::Tensor& noise, double limit, Wanted wanted);

/// What both kinds of layer share. clamp(√2 leaky_relu(gain x + noise + bias, 0.2), ±limit) of x in float64.
at::Tensor styled(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                  double limit);
/// All gradients of it, from y; that to x in float64, the others in their types. `limit` is limit_of(y's type).
Gradients styled_gradients(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& gain,
                           const at::Tensor& bias, const at::Tensor& noise, double limit, Wanted wanted);
/// The gradient to gain from `shares`, float64 sums of what comes from above times gain x, in gain's type.
at::Tensor gain_gradient(const at::Tensor& shares, const at::Tensor& gain);

}  // namespace styleclip
