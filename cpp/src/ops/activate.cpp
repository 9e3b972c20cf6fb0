// The readable implementation of activate, the check that all of them share, and the call of the operator.
#include "ops/activate.h"

#include "ops/arguments.h"
#include "ops/registry.h"
#include "styleclip/ops.h"

namespace styleclip {

void check_activate(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit) {
  Arguments arguments(kActivate);
  arguments.activations("y", y);
  arguments.floats("bias", bias, {y.size(1)});
  arguments.optional_floats("noise", noise, {y.size(2), y.size(2)});
  arguments.limit("limit", limit);
}

void activate_reference(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit) {
  check_activate(y, bias, noise, limit);
  y.copy_(activated(y.to(at::kDouble), bias, noise, limit));
}

void activate(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit) {
  if (use_reference(kActivate, y)) return activate_reference(y, bias, noise, limit);
  static const auto op = find_operator(kActivate).typed<ActivateSignature>();
  op.call(y, bias, optional(noise), limit);
}

}  // namespace styleclip
