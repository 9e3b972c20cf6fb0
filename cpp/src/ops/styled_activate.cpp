// The readable implementations of styled_activate and its backward pass, the checks that all of them share, and the call of
// the operator.
#include "ops/styled_activate.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "ops/differentiable.h"
#include "ops/registry.h"
#include "ops/styled_node.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor per_channel(const at::Tensor& values) {  // [o] or [n, o]
  const at::Tensor wide = values.to(at::kDouble);
  return wide.dim() == 2 ? wide.unsqueeze(2).unsqueeze(3) : wide.view({1, -1, 1, 1});
}

at::Tensor per_pixel(const at::Tensor& values) {  // [h, w] or [n, h, w]
  const at::Tensor wide = values.to(at::kDouble);
  return wide.dim() == 3 ? wide.unsqueeze(1) : wide;
}

at::Tensor forward_below(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                         double limit) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  if (runs_reference(kStyledActivate, x)) return styled_activate_reference(x, gain, bias, noise, limit);
  static const auto op = find_operator(kStyledActivate).typed<StyledActivateSignature>();
  return op.call(x, optional(gain), bias, optional(noise), limit);
}

Gradients backward_below(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& gain,
                         const at::Tensor& bias, const at::Tensor& noise, double limit, Wanted wanted) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  if (runs_reference(kStyledActivate, y)) {
    return styled_activate_backward_reference(gradient, y, gain, bias, noise, limit, wanted);
  }
  static const auto op = find_operator(kStyledActivateBackward).typed<StyledActivateBackwardSignature>();
  return op.call(gradient, y, optional(gain), bias, optional(noise), limit, wanted);
}

struct StyledActivateNode : torch::autograd::Function<StyledActivateNode> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const std::optional<at::Tensor>& gain,
                            const at::Tensor& bias, const std::optional<at::Tensor>& noise, double limit) {
    at::Tensor y = forward_below(x, plain_tensor(gain), bias, plain_tensor(noise), limit);
    context->save_for_backward({y, plain_tensor(gain), bias, plain_tensor(noise)});
    context->saved_data["limit"] = limit;
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    require_first_derivative(kStyledActivate);
    const variable_list saved = context->get_saved_variables();
    const Wanted wanted = wanted_gradients(*context, saved[1].defined(), saved[3].defined());
    auto [x, gain, bias, noise] = backward_below(gradients[0], saved[0], saved[1], saved[2], saved[3],
                                                 context->saved_data["limit"].toDouble(), wanted);
    return {x, gain, bias, noise, at::Tensor()};
  }
};

}  // namespace

void check_styled_activate(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                           double limit) {
  DifferentiableArguments arguments(kStyledActivate);
  arguments.first("x", x, 4, "[n, channels, h, w]");
  arguments.optional_companion("gain", gain, {x.size(0), x.size(1)});
  arguments.companion("bias", bias, {x.size(1)});
  arguments.noise(noise, x.size(0), x.size(2), x.size(3));
  arguments.limit(limit);
}

void check_styled_activate_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& gain,
                                    const at::Tensor& bias, const at::Tensor& noise, double limit, Wanted wanted) {
  check_styled_activate(y, gain, bias, noise, limit);
  DifferentiableArguments arguments(kStyledActivateBackward);
  arguments.first("y", y, 4, "[n, channels, h, w]");
  arguments.alike("gradient", gradient, y.sizes());
  if (wanted[1] && !gain.defined()) arguments.refuse("there is no gain, whose gradient is wanted.");
  if (wanted[3] && !noise.defined()) arguments.refuse("there is no noise, whose gradient is wanted.");
}

Wanted wanted_gradients(const AutogradContext& context, bool has_gain, bool has_noise) {
  // An edge's number counts the tensors that are there.
  const std::size_t bias = has_gain ? 2 : 1;
  return {context.needs_input_grad(0), has_gain && context.needs_input_grad(1), context.needs_input_grad(bias),
          has_noise && context.needs_input_grad(bias + 1)};
}

at::Tensor styled(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                  double limit) {
  at::Tensor sum = gain.defined() ? x * per_channel(gain) : x;
  sum = sum + per_channel(bias);
  if (noise.defined()) sum = sum + per_pixel(noise);
  return (std::numbers::sqrt2 * at::leaky_relu(sum, 0.2)).clamp(-limit, limit);
}

at::Tensor gain_gradient(const at::Tensor& shares, const at::Tensor& gain) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  return (shares / gain.to(at::kDouble)).masked_fill_(gain == 0, kUnknown).to(gain.scalar_type());
}

Gradients styled_gradients(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& gain,
                           const at::Tensor& bias, const at::Tensor& noise, double limit, Wanted wanted) {
  const at::Tensor result = y.to(at::kDouble);
  const at::Tensor slope = (result > 0).to(at::kDouble).mul(0.8).add(0.2).mul(std::numbers::sqrt2);
  // Of the sum that is activated. A clamped element has none, whatever came from above.
  const at::Tensor clamped = result.abs() >= limit;
  const at::Tensor of_sum = at::where(clamped, 0.0, gradient.to(at::kDouble) * slope);
  Gradients all;
  auto& [to_x, to_gain, to_bias, to_noise] = all;
  if (wanted[0]) to_x = gain.defined() ? of_sum * per_channel(gain) : of_sum;
  if (wanted[1]) {
    at::Tensor product = result / slope - per_channel(bias);  // gain x
    if (noise.defined()) product = product - per_pixel(noise);
    product = at::where(clamped, 0.0, of_sum * product);
    to_gain = gain_gradient(product.sum({2, 3}), gain);
  }
  if (wanted[2]) to_bias = of_sum.sum({0, 2, 3}).to(bias.scalar_type());
  if (wanted[3]) to_noise = of_sum.sum(1).to(noise.scalar_type());
  if (wanted[3] && noise.dim() == 2) to_noise = of_sum.sum({0, 1}).to(noise.scalar_type());
  return all;
}

at::Tensor styled_activate_reference(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias,
                                     const at::Tensor& noise, double limit) {
  check_styled_activate(x, gain, bias, noise, limit);
  return styled(x.to(at::kDouble), gain, bias, noise, limit_of(x.scalar_type(), limit))
      .to(x.scalar_type())
      .contiguous(at::MemoryFormat::ChannelsLast);
}

Gradients styled_activate_backward_reference(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& gain,
                                             const at::Tensor& bias, const at::Tensor& noise, double limit,
                                             Wanted wanted) {
  check_styled_activate_backward(gradient, y, gain, bias, noise, limit, wanted);
  Gradients all = styled_gradients(gradient, y, gain, bias, noise, limit_of(y.scalar_type(), limit), wanted);
  at::Tensor& to_x = std::get<0>(all);
  if (to_x.defined()) to_x = to_x.to(y.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
  return all;
}

at::Tensor styled_activate(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                           double limit) {
  check_styled_activate(x, gain, bias, noise, limit);
  if (records_gradient({&x, &gain, &bias, &noise}))
    return StyledActivateNode::apply(x, optional(gain), bias, optional(noise), limit);
  return forward_below(x, gain, bias, noise, limit);
}

}  // namespace styleclip
