// The implementations of styleclip::filter_styled_activate and its backward pass (schema and meaning: styleclip/ops.h); as
// styled_activate, the backward pass sees y and not t.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "ops/styled_activate.h"

namespace styleclip {

inline constexpr char kFilterStyledActivate[] = "filter_styled_activate";
inline constexpr char kFilterStyledActivateSchema[] =
    "filter_styled_activate(Tensor t, Tensor filter, Tensor? gain, Tensor bias, Tensor? noise, float limit) -> Tensor";
using FilterStyledActivateSignature = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                                 const at::Tensor&, const std::optional<at::Tensor>&, double);

inline constexpr char kFilterStyledActivateBackward[] = "filter_styled_activate_backward";
inline constexpr char kFilterStyledActivateBackwardSchema[] =
    "filter_styled_activate_backward(Tensor gradient, Tensor y, Tensor filter, Tensor? gain, Tensor bias, "
    "Tensor? noise, float limit, bool[4] wanted) -> (Tensor t, Tensor gain, Tensor bias, Tensor noise)";
using FilterStyledActivateBackwardSignature = Gradients(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                        const std::optional<at::Tensor>&, const at::Tensor&,
                                                        const std::optional<at::Tensor>&, double, Wanted);

/// Throws Error Shape or Argument when the arguments do not fit one another.
void check_filter_styled_activate(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain,
                                  const at::Tensor& bias, const at::Tensor& noise, double limit);
void check_filter_styled_activate_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& filter,
                                           const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                                           double limit, Wanted wanted);

/// Plain tensor algebra in float64, on any device.
at::Tensor filter_styled_activate_reference(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain,
                                            const at::Tensor& bias, const at::Tensor& noise, double limit);
Gradients filter_styled_activate_backward_reference(const at::Tensor& gradient, const at::Tensor& y,
                                                    const at::Tensor& filter, const at::Tensor& gain,
                                                    const at::Tensor& bias, const at::Tensor& noise, double limit,
                                                    Wanted wanted);
/// One pass each, blocks of rows in parallel; the gradients' sums are the same bits whatever the number of threads.
at::Tensor filter_styled_activate_cpu(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain,
                                      const at::Tensor& bias, const at::Tensor& noise, double limit);
Gradients filter_styled_activate_backward_cpu(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& filter,
                                              const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                                              double limit, Wanted wanted);

}  // namespace styleclip
