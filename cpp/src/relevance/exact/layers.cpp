// The readable layers; see layers.h for the formulas.
#include "relevance/exact/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/rsqrt.h>

#include <numbers>

namespace styleclip::exact {
namespace {

// The layer's linear part: [n, inputs, h, w] -> [n, outputs, r, r], `groups` as in conv2d.
at::Tensor convolve(const Conv& conv, const at::Tensor& x, const at::Tensor& weight, std::int64_t groups) {
  if (!conv.up) return at::conv2d(x, weight, {}, 1, 1, 1, groups);
  const std::int64_t outputs = weight.size(0) / groups;
  // conv_transpose2d wants [groups * inputs, outputs, 3, 3].
  const at::Tensor turned =
      weight.view({groups, outputs, weight.size(1), 3, 3}).transpose(1, 2).reshape({-1, outputs, 3, 3});
  const at::Tensor y = at::conv_transpose2d(x, turned, {}, 2, 0, 0, groups);
  const std::int64_t planes = y.size(1);
  return at::conv2d(y, at::outer(conv.filter, conv.filter).expand({planes, 1, 4, 4}), {}, 1, 1, 1, planes);
}

at::Tensor activate(const FoldedConv& folded, at::Tensor y) {
  if (folded.noise.defined()) y = y + folded.noise;
  y = at::leaky_relu(y, 0.2);
  return folded.clamp ? y.clamp(-*folded.clamp, *folded.clamp) : y;
}

}  // namespace

FoldedConv fold(const Conv& conv, const at::Tensor& style, const at::Tensor& noise, std::optional<double> clamp) {
  const at::Tensor gain = at::rsqrt(at::matmul(conv.power, style.square()) + conv.epsilon) * std::numbers::sqrt2;
  FoldedConv folded;
  folded.conv = &conv;
  folded.weight = conv.weight * style.view({1, -1, 1, 1}) * gain.view({-1, 1, 1, 1});
  folded.bias = conv.bias * std::numbers::sqrt2;
  if (noise.defined()) folded.noise = noise * std::numbers::sqrt2;
  folded.clamp = clamp;
  if (conv.up) {
    folded.taps = folded.weight.permute({1, 2, 3, 0}).reshape({conv.inputs, 9 * conv.outputs});
  } else {
    folded.weight = folded.weight.contiguous(at::MemoryFormat::ChannelsLast);
  }
  return folded;
}

FoldedRgb fold(const ToRgb& to_rgb, const at::Tensor& style, std::optional<double> clamp) {
  return {(to_rgb.weight * style).contiguous(), to_rgb.bias, clamp};
}

at::Tensor mix(const FoldedRgb& rgb, const at::Tensor& x) {
  const at::Tensor y = at::matmul(x.permute({0, 2, 3, 1}), rgb.weight.t()).permute({0, 3, 1, 2});
  const at::Tensor sum = y + rgb.bias.view({1, 3, 1, 1});
  return rgb.clamp ? sum.clamp(-*rgb.clamp, *rgb.clamp) : sum;
}

Activated run_layer_reference(const FoldedConv& folded, const at::Tensor& x, const FoldedRgb* rgb) {
  at::Tensor y = convolve(*folded.conv, x, folded.weight, 1) + folded.bias.view({1, -1, 1, 1});
  y = activate(folded, y).contiguous(at::MemoryFormat::ChannelsLast);
  return {y, rgb == nullptr ? at::Tensor() : mix(*rgb, y)};
}

Activated run_layer(const FoldedConv& folded, const at::Tensor& x, const FoldedRgb* rgb, bool keep) {
  return x.is_cpu() ? run_layer_cpu(folded, x, rgb, keep) : run_layer_reference(folded, x, rgb);
}

LayerBase layer_base(const Conv& conv, const at::Tensor& input, const at::Tensor& style) {
  LayerBase base;
  base.input = input;
  base.style = style;
  base.linear = convolve(conv, (input * style.view({-1, 1, 1})).unsqueeze(0), conv.weight, 1)[0];
  base.variance = at::matmul(conv.power, style.square()) + conv.epsilon;
  return base;
}

Activated perturbed_layer(const FoldedConv& folded, const LayerBase& base, const at::Tensor& channels,
                          const at::Tensor& plus, const at::Tensor& minus, const FoldedRgb* rgb) {
  const auto run = base.input.is_cpu() ? &perturbed_layer_cpu : &perturbed_layer_reference;
  return run(folded, base, channels, plus, minus, rgb);
}

Activated perturbed_layer_reference(const FoldedConv& folded, const LayerBase& base, const at::Tensor& channels,
                                    const at::Tensor& plus, const at::Tensor& minus, const FoldedRgb* rgb) {
  const Conv& conv = *folded.conv;
  const std::int64_t k = channels.numel();
  const at::Tensor planes = base.input.index_select(0, channels).unsqueeze(0);  // [1, K, h, w]
  const at::Tensor weight = conv.weight.index_select(1, channels).transpose(0, 1).reshape({-1, 1, 3, 3});
  const at::Tensor change = convolve(conv, planes, weight, k)[0].view({k, conv.outputs, conv.resolution, -1});
  const at::Tensor power = conv.power.index_select(1, channels).t();  // [K, outputs]
  const at::Tensor style = base.style.index_select(0, channels);
  std::vector<at::Tensor> signs;
  for (const at::Tensor& value : {plus, minus}) {
    const at::Tensor u = base.linear + (value - style).view({-1, 1, 1, 1}) * change;
    const at::Tensor variance = base.variance + (value.square() - style.square()).unsqueeze(1) * power;
    const at::Tensor gain = at::rsqrt(variance.clamp_min(conv.epsilon)) * std::numbers::sqrt2;
    signs.push_back(u * gain.unsqueeze(2).unsqueeze(3));
  }
  at::Tensor y = at::cat(signs) + folded.bias.view({1, -1, 1, 1});
  y = activate(folded, y).contiguous(at::MemoryFormat::ChannelsLast);
  return {y, rgb == nullptr ? at::Tensor() : mix(*rgb, y)};
}

}  // namespace styleclip::exact
