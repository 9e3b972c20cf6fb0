// The readable implementation of perturb_channels, the check that all of them share, and the call of the operator.
#include "ops/perturb_channels.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>

#include "ops/arguments.h"
#include "ops/registry.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

constexpr std::int64_t kNoPadding = 0;

}  // namespace

void check_perturb_channels(const at::Tensor& planes, const at::Tensor& taps, const at::Tensor& linear,
                            const at::Tensor& steps, const at::Tensor& gains, const at::Tensor& bias,
                            const at::Tensor& noise, double limit, const at::Tensor& y) {
  Arguments arguments(kPerturbChannels);
  arguments.activations("y", y);
  const std::int64_t channels = y.size(1);
  const std::int64_t r = y.size(2);
  if (y.size(0) % 2 != 0) arguments.refuse_shape("y has an odd number of pictures.");
  const std::int64_t k = y.size(0) / 2;
  arguments.floats("planes", planes, {k, r + 2, r + 2});
  arguments.floats("taps", taps, {k, 9, channels});
  arguments.floats("linear", linear, {r * r, channels});
  arguments.floats("steps", steps, {2, k});
  arguments.floats("gains", gains, {2, k, channels});
  arguments.floats("bias", bias, {channels});
  arguments.optional_floats("noise", noise, {r, r});
  arguments.limit("limit", limit);
}

void perturb_channels_reference(const at::Tensor& planes, const at::Tensor& taps, const at::Tensor& linear,
                                const at::Tensor& steps, const at::Tensor& gains, const at::Tensor& bias,
                                const at::Tensor& noise, double limit, at::Tensor& y) {
  check_perturb_channels(planes, taps, linear, steps, gains, bias, noise, limit, y);
  const std::int64_t k = planes.size(0);
  const std::int64_t channels = y.size(1);
  const std::int64_t r = y.size(2);
  if (y.numel() == 0) return;
  const at::Tensor weight = taps.to(at::kDouble).transpose(1, 2).reshape({k * channels, 1, 3, 3});
  // A group a plane: [1, k channels, r, r].
  const at::Tensor v = at::conv2d(planes.to(at::kDouble).unsqueeze(0), weight, {}, 1, at::IntArrayRef(kNoPadding), 1, k)
                           .view({1, k, channels, r, r});
  const at::Tensor base = linear.to(at::kDouble).t().reshape({channels, r, r});
  const at::Tensor step = steps.to(at::kDouble).view({2, k, 1, 1, 1});
  const at::Tensor gain = gains.to(at::kDouble).view({2, k, channels, 1, 1});
  y.copy_(activated((gain * (base + step * v)).view({2 * k, channels, r, r}), bias, noise, limit));
}

void perturb_channels(const at::Tensor& planes, const at::Tensor& taps, const at::Tensor& linear,
                      const at::Tensor& steps, const at::Tensor& gains, const at::Tensor& bias, const at::Tensor& noise,
                      double limit, at::Tensor& y) {
  if (use_reference(kPerturbChannels, y)) {
    return perturb_channels_reference(planes, taps, linear, steps, gains, bias, noise, limit, y);
  }
  static const auto op = find_operator(kPerturbChannels).typed<PerturbChannelsSignature>();
  op.call(planes, taps, linear, steps, gains, bias, optional(noise), limit, y);
}

}  // namespace styleclip
