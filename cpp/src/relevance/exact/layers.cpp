// See layers.h. A perturbed layer's formulas (architecture notes, "The relevance sweep, the fast exact way"):
//   u' = u + (s'_c − s_c) conv(W[:, c], x_c)        σ'² = σ² + (s'_c² − s_c²) Σ_taps W[o, c]²
//   y = clamp(leaky_relu(√2 (u' / σ' + noise + bias)))
#include "relevance/exact/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/stack.h>

#include <numbers>

#include "ops/convolve_to_canvas.h"
#include "relevance/exact/up_layer_cpu.h"
#include "styleclip/ops.h"

namespace styleclip::exact {
namespace {

// What follows a layer's linear part.
void finish(const FoldedConv& folded, at::Tensor& y, Painting& painting, bool keep) {
  if (painting.rgb == nullptr) return activate(y, folded.bias, folded.noise, folded.limit);
  activate_to_canvas(y, folded.bias, folded.noise, folded.limit, painting.rgb->weight, painting.rgb->bias,
                     painting.rgb->limit, painting.canvas->matrix(painting.index), painting.target, keep);
}

at::Tensor empty_pictures(std::int64_t n, std::int64_t channels, std::int64_t side, const at::Tensor& like) {
  return at::empty({n, channels, side, side}, like.options(), at::MemoryFormat::ChannelsLast);
}

// [K, r + 2, r + 2]: what the nine taps of a perturbed channel slide over. Where the size stays, the channel's plane with
// a border; on an up layer, the plane with zeros between its pixels, filtered: then the taps run backwards.
at::Tensor sliding_planes(const Conv& conv, const at::Tensor& planes) {
  if (!conv.up) return at::constant_pad_nd(planes, {1, 1, 1, 1}, 0).contiguous();
  // Zero insertion and the filter in one: a transposed convolution with the filter turned back. Position p of the result
  // is Σ_k f[k] z[p + k - 1] for p from -2 to 2 h - 1.
  const at::Tensor turned = at::outer(conv.filter, conv.filter).flip({0, 1}).view({1, 1, 4, 4});
  return at::conv_transpose2d(planes.unsqueeze(1), turned, {}, 2).squeeze(1).contiguous();
}

// [1, inputs, h, w] channels last -> [1, outputs, r, r], as the layer defines it.
at::Tensor convolve(const Conv& conv, const at::Tensor& x, UpLayer up_layer) {
  if (!conv.up) return at::conv2d(x, conv.weight, {}, 1, 1);
  if (up_layer == UpLayer::Strips) {
    FoldedConv linear;
    linear.conv = &conv;
    linear.weight = up_layer_weight(conv.weight, at::kFloat);
    at::Tensor y = empty_pictures(1, conv.outputs, conv.resolution, x);
    up_layer_cpu(linear, x, y);
    return y;
  }
  const at::Tensor t = at::conv_transpose2d(x, conv.weight.transpose(0, 1), {}, 2);
  return at::conv2d(t, at::outer(conv.filter, conv.filter).expand({conv.outputs, 1, 4, 4}), {}, 1, 1, 1, conv.outputs);
}

// √2 / σ
at::Tensor gain_of(const at::Tensor& variance) { return at::rsqrt(variance) * std::numbers::sqrt2; }

}  // namespace

Painting Painting::narrow(std::int64_t first, std::int64_t n) const {
  Painting part = *this;
  part.target = target.narrow(0, first, n);
  return part;
}

UpLayer up_layer_of(const c10::Device& device) { return device.is_cpu() ? UpLayer::Strips : UpLayer::Convolution; }

FoldedConv fold(const Conv& conv, const at::Tensor& style, const at::Tensor& noise, double limit, at::ScalarType type) {
  return fold(conv, style, noise, limit, type, up_layer_of(conv.weight.device()));
}

FoldedConv fold(const Conv& conv, const at::Tensor& style, const at::Tensor& noise, double limit, at::ScalarType type,
                UpLayer up_layer) {
  const at::Tensor gain = gain_of(at::matmul(conv.power, style.square()) + conv.epsilon);
  const at::Tensor weight = conv.weight * style.view({1, -1, 1, 1}) * gain.view({-1, 1, 1, 1});
  FoldedConv folded;
  folded.conv = &conv;
  folded.up_layer = up_layer;
  folded.bias = conv.bias * std::numbers::sqrt2;
  if (noise.defined()) folded.noise = noise * std::numbers::sqrt2;
  folded.limit = limit;
  if (!conv.up) {
    folded.weight = weight.to(type).contiguous(at::MemoryFormat::ChannelsLast);
  } else if (up_layer == UpLayer::Strips) {
    folded.weight = up_layer_weight(weight, type);
  } else {
    folded.weight = weight.transpose(0, 1).to(type).contiguous(at::MemoryFormat::ChannelsLast);
  }
  return folded;
}

FoldedRgb fold(const ToRgb& to_rgb, const at::Tensor& style, double limit) {
  return {(to_rgb.weight * style).contiguous(), to_rgb.bias, limit};
}

at::Tensor mix(const FoldedRgb& rgb, const at::Tensor& x) {
  const at::Tensor y = at::matmul(x.permute({0, 2, 3, 1}).to(at::kFloat), rgb.weight.t()).permute({0, 3, 1, 2});
  return (y + rgb.bias.view({1, 3, 1, 1})).clamp(-rgb.limit, rgb.limit);
}

bool fits_to_canvas(const Conv& conv, at::ScalarType type) {
  return !conv.up && takes_convolution(type, conv.inputs, conv.outputs);
}

at::Tensor run_layer(const FoldedConv& folded, const at::Tensor& x, Painting& painting, bool keep) {
  const Conv& conv = *folded.conv;
  if (!conv.up) {
    const bool to_canvas = folded.same_layer == SameLayer::ToCanvas && painting.rgb != nullptr;
    if (to_canvas && fits_to_canvas(conv, x.scalar_type())) {
      const at::Tensor y = keep ? empty_pictures(x.size(0), conv.outputs, conv.resolution, x) : at::Tensor();
      convolve_to_canvas(x, folded.weight, folded.bias, folded.noise, folded.limit, painting.rgb->weight,
                         painting.rgb->bias, painting.rgb->limit, painting.canvas->matrix(painting.index),
                         painting.target, y);
      return y;
    }
    at::Tensor y = at::conv2d(x, folded.weight, {}, 1, 1).contiguous(at::MemoryFormat::ChannelsLast);
    finish(folded, y, painting, keep);
    return y;
  }
  at::Tensor y = empty_pictures(x.size(0), conv.outputs, conv.resolution, x);
  if (folded.up_layer == UpLayer::Strips) {
    up_layer_cpu(folded, x, y);
  } else {
    const at::Tensor t = at::conv_transpose2d(x, folded.weight, {}, 2).contiguous(at::MemoryFormat::ChannelsLast);
    filter_activate(t, conv.filter, folded.bias, folded.noise, folded.limit, y);
  }
  if (painting.rgb != nullptr) {
    add_to_canvas(y, painting.rgb->weight, painting.rgb->bias, painting.rgb->limit,
                  painting.canvas->matrix(painting.index), painting.target);
  }
  return y;
}

LayerBase layer_base(const Conv& conv, const at::Tensor& input, const at::Tensor& style, UpLayer up_layer) {
  LayerBase base;
  base.input = input.to(at::kFloat);
  base.style = style;
  const at::Tensor x = (base.input * style.view({-1, 1, 1})).unsqueeze(0).contiguous(at::MemoryFormat::ChannelsLast);
  base.linear = convolve(conv, x, up_layer).permute({0, 2, 3, 1}).reshape({-1, conv.outputs}).contiguous();
  base.variance = at::matmul(conv.power, style.square()) + conv.epsilon;
  return base;
}

at::Tensor base_output(const FoldedConv& folded, const LayerBase& base, Painting& painting) {
  const std::int64_t side = folded.conv->resolution;
  at::Tensor y = (base.linear * gain_of(base.variance)).view({1, side, side, -1}).permute({0, 3, 1, 2});
  finish(folded, y, painting, true);
  return y;
}

at::Tensor perturbed_layer(const FoldedConv& folded, const LayerBase& base, const at::Tensor& channels,
                           const at::Tensor& plus, const at::Tensor& minus, Painting& painting) {
  const Conv& conv = *folded.conv;
  const at::Tensor planes = sliding_planes(conv, base.input.index_select(0, channels));
  at::Tensor weight = conv.weight.index_select(1, channels);  // [outputs, K, 3, 3]
  if (conv.up) weight = weight.flip({2, 3});
  const at::Tensor taps = weight.permute({1, 2, 3, 0}).contiguous().view({-1, 9, conv.outputs});
  const at::Tensor power = conv.power.index_select(1, channels).t().contiguous();  // [K, outputs]
  const at::Tensor style = base.style.index_select(0, channels);
  const at::Tensor values = at::stack({plus, minus});  // [2, K]
  const at::Tensor variance = base.variance + (values.square() - style.square()).unsqueeze(2) * power;
  const at::Tensor gains = gain_of(variance.clamp_min(conv.epsilon)).contiguous();  // [2, K, outputs]
  at::Tensor y = empty_pictures(2 * channels.numel(), conv.outputs, conv.resolution, folded.weight);
  perturb_channels(planes, taps, base.linear, (values - style).contiguous(), gains, folded.bias, folded.noise,
                   folded.limit, y);
  if (painting.rgb != nullptr) {
    add_to_canvas(y, painting.rgb->weight, painting.rgb->bias, painting.rgb->limit,
                  painting.canvas->matrix(painting.index), painting.target);
  }
  return y;
}

}  // namespace styleclip::exact
