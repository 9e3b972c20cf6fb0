// The readable implementations of filter_styled_activate and its backward pass, the checks that all of them share, and the
// call of the operator.
#include "ops/filter_styled_activate.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/zeros.h>

#include "ops/differentiable.h"
#include "ops/registry.h"
#include "ops/styled_node.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor window(const at::Tensor& filter, std::int64_t channels) {
  const at::Tensor line = filter.to(at::kDouble);
  return at::outer(line, line).expand({channels, 1, 4, 4});
}

at::Tensor forward_below(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain, const at::Tensor& bias,
                         const at::Tensor& noise, double limit) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  if (runs_reference(kFilterStyledActivate, t)) {
    return filter_styled_activate_reference(t, filter, gain, bias, noise, limit);
  }
  static const auto op = find_operator(kFilterStyledActivate).typed<FilterStyledActivateSignature>();
  return op.call(t, filter, optional(gain), bias, optional(noise), limit);
}

Gradients backward_below(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& filter,
                         const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise, double limit,
                         Wanted wanted) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  if (runs_reference(kFilterStyledActivate, y)) {
    return filter_styled_activate_backward_reference(gradient, y, filter, gain, bias, noise, limit, wanted);
  }
  static const auto op = find_operator(kFilterStyledActivateBackward).typed<FilterStyledActivateBackwardSignature>();
  return op.call(gradient, y, filter, optional(gain), bias, optional(noise), limit, wanted);
}

struct FilterStyledActivateNode : torch::autograd::Function<FilterStyledActivateNode> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& t, const std::optional<at::Tensor>& gain,
                            const at::Tensor& bias, const std::optional<at::Tensor>& noise, const at::Tensor& filter,
                            double limit) {
    at::Tensor y = forward_below(t, filter, plain_tensor(gain), bias, plain_tensor(noise), limit);
    context->save_for_backward({y, plain_tensor(gain), bias, plain_tensor(noise), filter});
    context->saved_data["limit"] = limit;
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    require_first_derivative(kFilterStyledActivate);
    const variable_list saved = context->get_saved_variables();
    const Wanted wanted = wanted_gradients(*context, saved[1].defined(), saved[3].defined());
    auto [t, gain, bias, noise] = backward_below(gradients[0], saved[0], saved[4], saved[1], saved[2], saved[3],
                                                 context->saved_data["limit"].toDouble(), wanted);
    return {t, gain, bias, noise, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

void check_filter_styled_activate(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain,
                                  const at::Tensor& bias, const at::Tensor& noise, double limit) {
  DifferentiableArguments arguments(kFilterStyledActivate);
  arguments.first("t", t, 4, "[n, channels, h + 1, w + 1]");
  if (t.size(2) < 1 || t.size(3) < 1) arguments.refuse_shape("t is not [n, channels, h + 1, w + 1].");
  arguments.companion("filter", filter, {4});
  arguments.optional_companion("gain", gain, {t.size(0), t.size(1)});
  arguments.companion("bias", bias, {t.size(1)});
  arguments.noise(noise, t.size(0), t.size(2) - 1, t.size(3) - 1);
  arguments.limit(limit);
}

void check_filter_styled_activate_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& filter,
                                           const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                                           double limit, Wanted wanted) {
  check_styled_activate_backward(gradient, y, gain, bias, noise, limit, wanted);
  DifferentiableArguments arguments(kFilterStyledActivateBackward);
  arguments.first("y", y, 4, "[n, channels, h, w]");
  arguments.companion("filter", filter, {4});
}

at::Tensor filter_styled_activate_reference(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain,
                                            const at::Tensor& bias, const at::Tensor& noise, double limit) {
  check_filter_styled_activate(t, filter, gain, bias, noise, limit);
  const std::int64_t channels = t.size(1), h = t.size(2) - 1, w = t.size(3) - 1;
  if (t.size(0) * channels * h * w == 0) {
    return at::empty({t.size(0), channels, h, w}, t.options(), at::MemoryFormat::ChannelsLast);
  }
  const at::Tensor x = at::conv2d(t.to(at::kDouble), window(filter, channels), {}, 1, 1, 1, channels);
  return styled(x, gain, bias, noise, limit_of(t.scalar_type(), limit))
      .to(t.scalar_type())
      .contiguous(at::MemoryFormat::ChannelsLast);
}

Gradients filter_styled_activate_backward_reference(const at::Tensor& gradient, const at::Tensor& y,
                                                    const at::Tensor& filter, const at::Tensor& gain,
                                                    const at::Tensor& bias, const at::Tensor& noise, double limit,
                                                    Wanted wanted) {
  check_filter_styled_activate_backward(gradient, y, filter, gain, bias, noise, limit, wanted);
  Gradients all = styled_gradients(gradient, y, gain, bias, noise, limit_of(y.scalar_type(), limit), wanted);
  at::Tensor& to_t = std::get<0>(all);
  if (to_t.defined()) {
    const std::int64_t channels = y.size(1);
    to_t = y.numel() == 0
               ? at::zeros({y.size(0), channels, y.size(2) + 1, y.size(3) + 1}, y.options())
               : at::conv_transpose2d(to_t, window(filter, channels), {}, 1, 1, 0, channels).to(y.scalar_type());
    to_t = to_t.contiguous(at::MemoryFormat::ChannelsLast);
  }
  return all;
}

at::Tensor filter_styled_activate(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain,
                                  const at::Tensor& bias, const at::Tensor& noise, double limit) {
  check_filter_styled_activate(t, filter, gain, bias, noise, limit);
  DifferentiableArguments::constant(kFilterStyledActivate, "filter", filter);
  if (records_gradient({&t, &gain, &bias, &noise})) {
    return FilterStyledActivateNode::apply(t, optional(gain), bias, optional(noise), filter, limit);
  }
  return forward_below(t, filter, gain, bias, noise, limit);
}

}  // namespace styleclip
