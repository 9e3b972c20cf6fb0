// The layers on a CPU: oneDNN's convolution where the size stays, one matrix product and one pass where it doubles, and one
// pass for all that follows a convolution. Pictures run in parallel; a thread's scratch is its own.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/rsqrt.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>
#include <numbers>

#include "relevance/exact/layers.h"
#include "relevance/exact/pixels_cpu.h"

namespace styleclip::exact {
namespace {

constexpr std::int64_t kStripFloats = 1 << 16;  // of products at a time: 256 KiB, a part of the second cache

float limit_of(const std::optional<double>& clamp) {
  return clamp ? static_cast<float>(*clamp) : std::numeric_limits<float>::infinity();
}

Activation activation_of(const FoldedConv& folded) {
  return {folded.noise.defined() ? folded.noise.const_data_ptr<float>() : nullptr, folded.bias.const_data_ptr<float>(),
          limit_of(folded.clamp)};
}

at::Tensor empty_pictures(std::int64_t n, std::int64_t channels, std::int64_t side) {
  return at::empty({n, channels, side, side}, at::TensorOptions(at::kFloat), at::MemoryFormat::ChannelsLast);
}

// y [n, outputs, r, r] of an up layer, activated.
at::Tensor run_up(const FoldedConv& folded, const at::Tensor& x) {
  const std::int64_t n = x.size(0), inputs = x.size(1), side = x.size(2), outputs = folded.conv->outputs;
  at::Tensor y = empty_pictures(n, outputs, 2 * side);
  const at::Tensor pixels = x.permute({0, 2, 3, 1}).reshape({n * side, side, inputs});  // a source row each
  const std::int64_t strip = std::clamp<std::int64_t>(kStripFloats / (side * 9 * outputs), 1, side);
  const Activation activation = activation_of(folded);
  const float* filter = folded.conv->filter.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  at::parallel_for(0, n, 1, [&](std::int64_t begin, std::int64_t end) {
    const c10::InferenceMode guard;
    at::Tensor products = at::empty({strip * side, 9 * outputs}, at::kFloat);
    at::Tensor scratch = at::empty({UpSampler::scratch_size(side, outputs)}, at::kFloat);
    for (std::int64_t i = begin; i < end; ++i) {
      UpSampler sampler(side, outputs, filter, activation, scratch.mutable_data_ptr<float>(),
                        to + i * 4 * side * side * outputs);
      for (std::int64_t row = 0; row < side; row += strip) {
        const std::int64_t rows = std::min(strip, side - row);
        at::Tensor part = products.narrow(0, 0, rows * side);
        at::mm_out(part, pixels.narrow(0, i * side + row, rows).view({rows * side, inputs}), folded.taps);
        sampler.add_rows(part.const_data_ptr<float>(), rows);
      }
      sampler.finish();
    }
  });
  return y;
}

// [K, side + 2, side + 2]: what the nine taps of a perturbed channel slide over. Where the size stays, the channel's plane
// with a border; on an up layer, the plane with zeros between its pixels, filtered: then the taps run backwards.
at::Tensor sliding_planes(const Conv& conv, const at::Tensor& planes) {
  if (!conv.up) return at::constant_pad_nd(planes, {1, 1, 1, 1}, 0).contiguous();
  // Zero insertion and the filter in one: a transposed convolution with the filter turned back. Position p of the result
  // is Σ_k f[k] z[p + k - 1] for p from -2 to 2 h - 1.
  const at::Tensor turned = at::outer(conv.filter, conv.filter).flip({0, 1}).view({1, 1, 4, 4});
  const at::Tensor spread =
      at::conv_transpose2d(planes.unsqueeze(1), turned, {}, 2).squeeze(1);  // p from -2 to 2 h - 1
  return spread.contiguous();
}

}  // namespace

Activated run_layer_cpu(const FoldedConv& folded, const at::Tensor& x, const FoldedRgb* rgb, bool keep) {
  const Conv& conv = *folded.conv;
  Activated result;
  if (conv.up) {
    result.y = run_up(folded, x);
    if (rgb != nullptr) result.rgb = mix(*rgb, result.y);
    return result;
  }
  at::Tensor y = at::conv2d(x, folded.weight, {}, 1, 1).contiguous(at::MemoryFormat::ChannelsLast);
  const std::int64_t n = y.size(0), channels = y.size(1), pixels = y.size(2) * y.size(3);
  float* data = y.mutable_data_ptr<float>();
  const Activation activation = activation_of(folded);
  if (rgb != nullptr) result.rgb = at::empty({n, 3, y.size(2), y.size(3)}, at::kFloat);
  float* colours = rgb == nullptr ? nullptr : result.rgb.mutable_data_ptr<float>();
  at::parallel_for(0, n, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float* picture = data + i * pixels * channels;
      if (rgb == nullptr) {
        activate_pixels(picture, pixels, channels, activation);
      } else {
        activate_to_rgb(picture, pixels, channels, activation, rgb->weight.const_data_ptr<float>(),
                        rgb->bias.const_data_ptr<float>(), colours + i * 3 * pixels, keep);
      }
    }
  });
  if (keep) result.y = y;
  return result;
}

Activated perturbed_layer_cpu(const FoldedConv& folded, const LayerBase& base, const at::Tensor& channels,
                              const at::Tensor& plus, const at::Tensor& minus, const FoldedRgb* rgb) {
  const Conv& conv = *folded.conv;
  const std::int64_t k = channels.numel(), outputs = conv.outputs, side = conv.resolution, pixels = side * side;
  const at::Tensor planes = sliding_planes(conv, base.input.index_select(0, channels));
  at::Tensor weight = conv.weight.index_select(1, channels);  // [outputs, K, 3, 3]
  if (conv.up) weight = weight.flip({2, 3});
  const at::Tensor taps = weight.permute({1, 2, 3, 0}).contiguous();  // [K, 3, 3, outputs]
  const at::Tensor linear = base.linear.permute({1, 2, 0}).contiguous();
  const at::Tensor style = base.style.index_select(0, channels);
  const at::Tensor power = conv.power.index_select(1, channels).t();  // [K, outputs]
  at::Tensor steps[2], gains[2];
  for (int sign = 0; sign < 2; ++sign) {
    const at::Tensor& value = sign == 0 ? plus : minus;
    steps[sign] = (value - style).contiguous();
    const at::Tensor variance = base.variance + (value.square() - style.square()).unsqueeze(1) * power;
    gains[sign] = (at::rsqrt(variance.clamp_min(conv.epsilon)) * std::numbers::sqrt2).contiguous();
  }
  Activated result{empty_pictures(2 * k, outputs, side), {}};
  if (rgb != nullptr) result.rgb = at::empty({2 * k, 3, side, side}, at::kFloat);
  float* y = result.y.mutable_data_ptr<float>();
  float* colours = rgb == nullptr ? nullptr : result.rgb.mutable_data_ptr<float>();
  const Activation activation = activation_of(folded);
  at::parallel_for(0, k, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      RankOne change;
      change.plane = planes.const_data_ptr<float>() + i * (side + 2) * (side + 2);
      change.taps = taps.const_data_ptr<float>() + i * 9 * outputs;
      change.linear = linear.const_data_ptr<float>();
      for (int sign = 0; sign < 2; ++sign) {
        change.step[sign] = steps[sign].const_data_ptr<float>()[i];
        change.gain[sign] = gains[sign].const_data_ptr<float>() + i * outputs;
        change.y[sign] = y + (i + sign * k) * pixels * outputs;
      }
      perturb_pixels(change, side, outputs, activation);
      for (int sign = 0; sign < 2 && rgb != nullptr; ++sign) {
        pixels_to_rgb(change.y[sign], pixels, outputs, rgb->weight.const_data_ptr<float>(),
                      rgb->bias.const_data_ptr<float>(), limit_of(rgb->clamp), colours + (i + sign * k) * 3 * pixels);
      }
    }
  });
  return result;
}

}  // namespace styleclip::exact
