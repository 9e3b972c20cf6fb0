// See synthesis_cpu.h. Between two convolutions, a layer's result x was activated from one and multiplied with the style of the
// other; on some layers a toRGB layer took it too. With g the gradient to what the other one was given, the way back is
//   to_style = Σ g x,   g ← g style + colours · (gradient to the picture),   g ← g slope(x) gain
// pixel by pixel, and sums for the gain, of which demodulation makes its part of the style's gradient:
//   gain[o] = 1 / √(Σ_i s_i² power[o, i] + ε)   =>   ∂/∂s_i = −s_i Σ_o gain[o]² power[o, i] Σ_pixels (g slope gain u)[o]
#include "editing/synthesis_cpu.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "ops/differentiable.h"
#include "ops/filter_rows_cpu.h"
#include "ops/styled_rows_cpu.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

using exact::Conv;

constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;
// Of a layer's gradient that goes back together: a thread's second cache.
constexpr std::int64_t kTogetherBytes = 1 << 20;

class WayBack {
 public:
  WayBack(const SynthesisNetwork& synthesis, const SynthesisTrace& trace, bool noise, const at::Tensor& gradient)
      : synthesis_(synthesis),
        network_(synthesis.network),
        layout_(synthesis.layout),
        trace_(trace),
        gradient_(gradient.contiguous()),
        limit_(static_cast<float>(limit_of(at::kFloat, network_.limit()))),
        to_s_(at::empty(trace.s.sizes(), trace.s.options().requires_grad(false))) {
    const std::int64_t n = trace.s.size(0);
    for (const Conv& conv : network_.convs) {
      const at::Tensor style = style_of(conv.layer);
      styles_.push_back((style * conv.scale).contiguous());
      gains_.push_back(at::rsqrt(at::matmul(style.square(), conv.power.t()) + conv.epsilon).contiguous());
      shares_.push_back(at::empty({n, conv.outputs}, to_s_.options()));
      biases_.push_back(conv.bias.contiguous());
      maps_.push_back(noise && conv.noise.defined() ? conv.noise.contiguous() : at::Tensor());
    }
    for (const exact::ToRgb& to_rgb : network_.to_rgbs) {
      colours_.push_back((to_rgb.weight * style_of(to_rgb.layer).unsqueeze(1)).contiguous());  // [n, 3, inputs]
    }
  }

  at::Tensor run() {
    const std::int64_t n = trace_.s.size(0);
    if (n == 0) return to_s_;
    const at::Tensor to_input = back(0, 0, n).styled;
    const Conv& first = network_.convs[0];
    of_layer(first.layer).copy_((to_input * network_.input).sum({2, 3}).mul_(first.scale));
    for (std::size_t i = 0; i < network_.convs.size(); ++i) {
      const Conv& conv = network_.convs[i];
      // A gain of 0 does not tell what it was multiplied with.
      const at::Tensor known = shares_[i].masked_fill(gains_[i] == 0, std::numeric_limits<float>::quiet_NaN());
      of_layer(conv.layer).addcmul_(style_of(conv.layer), at::matmul(known * gains_[i].square(), conv.power), -1);
    }
    return to_s_;
  }

 private:
  /// Of some pictures: the gradients to what a convolution was given, style included, and to the picture so far.
  struct Below {
    at::Tensor styled, picture;
  };
  enum Sum : std::int64_t { kGain, kStyle, kColours, kSums = kColours + 3 };

  at::Tensor style_of(std::int64_t layer) const {
    const StyleLayer& place = layout_.layers[static_cast<std::size_t>(layer)];
    return trace_.s.narrow(1, place.offset, place.channels);
  }
  at::Tensor of_layer(std::int64_t layer) const {
    const StyleLayer& place = layout_.layers[static_cast<std::size_t>(layer)];
    return to_s_.narrow(1, place.offset, place.channels);
  }

  // Through convolution i and all after it; a block's first one also undoes the up-sampling of the picture.
  Below back(std::size_t i, std::int64_t first, std::int64_t count) {
    const Conv& conv = network_.convs[i];
    const std::int64_t bytes =
        conv.outputs * conv.resolution * conv.resolution * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t most = std::max<std::int64_t>(1, at::get_num_threads() * kTogetherBytes / bytes);
    if (count > most) {
      std::vector<at::Tensor> styled, pictures;
      for (std::int64_t done = 0; done < count; done += most) {
        Below part = back(i, first + done, std::min(most, count - done));
        styled.push_back(std::move(part.styled));
        pictures.push_back(std::move(part.picture));
      }
      return {at::cat(styled), at::cat(pictures)};
    }
    const bool last = i + 1 == network_.convs.size();
    Below above = last ? Below{{}, gradient_.narrow(0, first, count)} : back(i + 1, first, count);
    const at::Tensor before = unfinish(i, first, above);
    above.styled.reset();
    const at::Tensor input =
        i > 0 ? trace_.results[i - 1].narrow(0, first, count) : network_.input.unsqueeze(0).expand({count, -1, -1, -1});
    const std::vector<std::int64_t> stride(2, conv.up ? 2 : 1), padding(2, conv.up ? 0 : 1), one(2, 1), zero(2, 0);
    // The input's values play no part in its own gradient.
    Below below;
    below.styled =
        std::get<0>(at::convolution_backward(before, input, conv.up ? conv.weight.transpose(0, 1) : conv.weight,
                                             at::OptionalIntArrayRef(), stride, padding, one, conv.up, zero, 1,
                                             {true, false, false}))
            .contiguous(kChannelsLast);
    below.picture = above.picture;
    if (conv.up) {
      const at::Tensor matrix = synthesis_.doublings[i / 2].t();
      below.picture = resample(above.picture, matrix, matrix);
    }
    return below;
  }

  // The gradient to what convolution i gives, from what comes from above to the layer's result.
  at::Tensor unfinish(std::size_t i, std::int64_t first, const Below& above) {
    const Conv& conv = network_.convs[i];
    const std::int64_t count = above.picture.size(0), channels = conv.outputs, side = conv.resolution;
    const std::int64_t row_size = side * channels;
    const bool given = above.styled.defined(), coloured = i % 2 == 0;
    const at::Tensor& y = trace_.results[i];
    const at::Tensor picture = coloured ? unclamp(i / 2, first, above.picture) : at::Tensor();
    const std::int64_t block = conv.up ? rows::filtered_block(row_size) : rows::grain(row_size);
    const std::int64_t blocks = (side + (conv.up ? block : block - 1)) / block;
    const at::Tensor sums = at::zeros({count, blocks, kSums, channels}, to_s_.options());
    float* const all_sums = sums.mutable_data_ptr<float>();
    const float* const gradients = given ? above.styled.const_data_ptr<float>() : nullptr;
    const float* const results = y.const_data_ptr<float>() + first * side * row_size;
    const float* const noise = maps_[i].defined() ? maps_[i].const_data_ptr<float>() : nullptr;
    const float* const planes = coloured ? picture.const_data_ptr<float>() : nullptr;

    const auto row_back = [&](std::int64_t n, std::int64_t row, bool own, float* to) {
      rows::Upstream<float> from;
      const std::int64_t at = (n * side + row) * row_size;
      if (given) {
        from.gradient = gradients + at;
        from.style = styles_[i + 1].const_data_ptr<float>() + (first + n) * channels;
      }
      if (coloured) {
        from.colours = colours_[i / 2].const_data_ptr<float>() + (first + n) * 3 * channels;
        for (std::size_t q = 0; q < 3; ++q) {
          from.rgb[q] = planes + ((n * 3 + static_cast<std::int64_t>(q)) * side + row) * side;
        }
      }
      rows::Sums<float> to_sums;
      if (own) {
        float* const here = all_sums + (n * blocks + row / block) * kSums * channels;
        to_sums.gain = here + kGain * channels;
        to_sums.style = here + kStyle * channels;
        for (std::size_t q = 0; q < 3; ++q)
          to_sums.colours[q] = here + (kColours + static_cast<std::int64_t>(q)) * channels;
      }
      const rows::LayerEnd<float> end{gains_[i].const_data_ptr<float>() + (first + n) * channels,
                                      biases_[i].const_data_ptr<float>(), limit_, channels};
      rows::unfinish(from, results + at, side, end, noise == nullptr ? nullptr : noise + row * side, to, to_sums);
    };

    at::Tensor before;
    if (conv.up) {
      before = at::empty({count, channels, side + 1, side + 1}, to_s_.options(), kChannelsLast);
      const at::Tensor turned = conv.filter.flip({0}).contiguous();
      rows::filter_back<float>({count, channels, side, side}, block, turned.const_data_ptr<float>(),
                               before.mutable_data_ptr<float>(), [&] { return row_back; });
    } else {
      before = given ? above.styled : at::empty({count, channels, side, side}, to_s_.options(), kChannelsLast);
      float* const to = before.mutable_data_ptr<float>();
      at::parallel_for(0, count * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t one = begin; one < end; ++one) {
          const std::int64_t n = one / blocks, from = one % blocks * block;
          for (std::int64_t row = from; row < std::min(from + block, side); ++row) {
            row_back(n, row, true, to + (n * side + row) * row_size);
          }
        }
      });
    }
    keep(i, first, count, blocks, all_sums);
    return before;
  }

  // Of the toRGB layer's own colours. A clamped one has no gradient.
  at::Tensor unclamp(std::size_t index, std::int64_t first, const at::Tensor& picture) const {
    if (trace_.unclamped.empty()) return picture.contiguous();
    const at::Tensor raw = trace_.unclamped[index].narrow(0, first, picture.size(0));
    return at::where(raw.abs() <= limit_, picture, 0.0).contiguous();
  }

  // Adds the blocks' sums up, in order and in float64, and puts them where they belong.
  void keep(std::size_t i, std::int64_t first, std::int64_t count, std::int64_t blocks, const float* sums) {
    const Conv& conv = network_.convs[i];
    const std::int64_t channels = conv.outputs, total = to_s_.size(1);
    const auto offset = [&](std::int64_t layer) { return layout_.layers[static_cast<std::size_t>(layer)].offset; };
    const Conv* const next = i + 1 < network_.convs.size() ? &network_.convs[i + 1] : nullptr;
    const exact::ToRgb* const to_rgb = i % 2 == 0 ? &network_.to_rgbs[i / 2] : nullptr;
    std::vector<double> added(static_cast<std::size_t>(kSums * channels));
    for (std::int64_t n = 0; n < count; ++n) {
      std::fill(added.begin(), added.end(), 0.0);
      const float* from = sums + n * blocks * kSums * channels;
      for (std::int64_t block = 0; block < blocks; ++block) {
        for (double& one : added) one += *from++;
      }
      float* const row = to_s_.mutable_data_ptr<float>() + (first + n) * total;
      float* const shares = shares_[i].mutable_data_ptr<float>() + (first + n) * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        const auto sum = [&](std::int64_t which) { return added[static_cast<std::size_t>(which * channels + c)]; };
        shares[c] = static_cast<float>(sum(kGain));
        if (next != nullptr) row[offset(next->layer) + c] = static_cast<float>(next->scale * sum(kStyle));
        if (to_rgb == nullptr) continue;
        const float* const weight = to_rgb->weight.const_data_ptr<float>() + c;
        double colours = 0;
        for (std::int64_t q = 0; q < 3; ++q) colours += weight[q * channels] * sum(kColours + q);
        row[offset(to_rgb->layer) + c] = static_cast<float>(colours);
      }
    }
  }

  const SynthesisNetwork& synthesis_;
  const exact::Network& network_;
  const StyleLayout& layout_;
  const SynthesisTrace& trace_;
  const at::Tensor gradient_;
  const float limit_;
  at::Tensor to_s_;
  std::vector<at::Tensor> styles_, gains_, shares_, biases_, maps_, colours_;
};

}  // namespace

at::Tensor synthesis_gradient_cpu(const SynthesisNetwork& synthesis, const SynthesisTrace& trace, bool noise,
                                  const at::Tensor& gradient) {
  return WayBack(synthesis, trace, noise, gradient).run();
}

}  // namespace styleclip
