// The readable implementation of filter_activate, the check that all of them share, and the call of the operator.
#include "ops/filter_activate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/outer.h>

#include "ops/arguments.h"
#include "ops/registry.h"
#include "styleclip/ops.h"

namespace styleclip {

void check_filter_activate(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& bias,
                           const at::Tensor& noise, double limit, const at::Tensor& y) {
  Arguments arguments(kFilterActivate);
  arguments.activations("y", y);
  arguments.activations("t", t);
  const std::int64_t r = y.size(2);
  if (t.size(0) != y.size(0) || t.size(1) != y.size(1) || t.size(2) != r + 1) {
    arguments.refuse_shape("t is not [n, channels, r + 1, r + 1] of y's n, channels and r.");
  }
  if (t.scalar_type() != y.scalar_type()) arguments.refuse("t and y differ in type.");
  if (t.is_alias_of(y)) arguments.refuse("t and y share memory.");
  arguments.floats("filter", filter, {4});
  arguments.floats("bias", bias, {y.size(1)});
  arguments.optional_floats("noise", noise, {r, r});
  arguments.limit("limit", limit);
}

void filter_activate_reference(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& bias,
                               const at::Tensor& noise, double limit, at::Tensor& y) {
  check_filter_activate(t, filter, bias, noise, limit, y);
  if (y.numel() == 0) return;
  const std::int64_t channels = y.size(1);
  const at::Tensor line = filter.to(at::kDouble);
  const at::Tensor window = at::outer(line, line).expand({channels, 1, 4, 4});
  y.copy_(activated(at::conv2d(t.to(at::kDouble), window, {}, 1, 1, 1, channels), bias, noise, limit));
}

void filter_activate(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& bias, const at::Tensor& noise,
                     double limit, at::Tensor& y) {
  if (use_reference(kFilterActivate, y)) {
    return filter_activate_reference(t, filter, bias, noise, limit, y);
  }
  static const auto op = find_operator(kFilterActivate).typed<FilterActivateSignature>();
  op.call(t, filter, bias, optional(noise), limit, y);
}

}  // namespace styleclip
