// The base pass, and the suffix after a changed layer. With both values of K channels in one batch, all 2 K pictures share
// every style after the changed layer, so its weights are folded once a picture.
#include "relevance/exact/painter.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "relevance/precision.h"

namespace styleclip::exact {
namespace {

// The toRGB layer that follows convolution `conv`, or stands in its block: conv 0 -> 0, convs 1 and 2 -> 1, …
std::size_t to_rgb_after(std::size_t conv) { return (conv + 1) / 2; }

}  // namespace

std::int64_t pictures_together(const Conv& conv, const PainterSettings& settings) {
  if (settings.together_bytes <= 0) return std::numeric_limits<std::int64_t>::max();
  const auto element = static_cast<std::int64_t>(c10::elementSize(settings.type));
  const std::int64_t bytes = conv.outputs * conv.resolution * conv.resolution * element;
  return std::max<std::int64_t>(2, settings.together_bytes / bytes / 2 * 2);
}

Painter::Painter(const Network& network, const Canvas& canvas, const std::vector<at::Tensor>& styles,
                 const std::vector<at::Tensor>& noise, const PainterSettings& settings)
    : network_(network), canvas_(canvas), settings_(settings) {
  const PrecisionGuard ieee(Precision::Float32);
  for (const ToRgb& layer : network.to_rgbs) {
    rgb_styles_.push_back(styles[static_cast<std::size_t>(layer.layer)]);
    folded_rgb_.push_back(fold(layer, rgb_styles_.back(), network.limit()));
  }
  // The base runs in IEEE's float32 whatever the sweep's type is: its linear parts are what every perturbed layer starts
  // from, and a changed channel may cancel most of them.
  at::Tensor x = network.input.unsqueeze(0).contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor total = at::zeros({1, 3, canvas.size(), canvas.size()}, network.input.options());
  for (std::size_t i = 0; i < network.convs.size(); ++i) {
    const Conv& conv = network.convs[i];
    const at::Tensor& style = styles[static_cast<std::size_t>(conv.layer)];
    folded_.push_back(fold(conv, style, noise[i], network.limit(), settings.type, settings.up_layer()));
    folded_.back().same_layer = settings.same_layer;
    bases_.push_back(layer_base(conv, x[0], style, settings.up_layer()));
    total = total.clone();
    Painting to = painting(i, total);
    x = base_output(folded_.back(), bases_.back(), to);
    if (to.rgb == nullptr) continue;
    rgb_inputs_.push_back(x[0]);
    totals_.push_back(total[0]);
  }
}

// toRGB comes after the first convolution, and after the second one of each later block.
Painting Painter::painting(std::size_t conv, const at::Tensor& target) const {
  if (conv % 2 != 0) return {nullptr, &canvas_, 0, target};
  return {&folded_rgb_[conv / 2], &canvas_, conv / 2, target};
}

std::int64_t Painter::together(std::size_t conv) const { return pictures_together(network_.convs[conv], settings_); }

std::size_t Painter::last_for(std::size_t conv) const {
  const std::size_t last = folded_.size() - 1;
  if (settings_.stop_at <= 0 || network_.convs[conv].resolution > settings_.stop_at) return last;
  std::size_t stop = conv;
  while (stop < last && network_.convs[stop + 1].resolution <= settings_.stop_at) ++stop;
  return stop;
}

void Painter::run_from(std::size_t conv, std::size_t last, at::Tensor x, const at::Tensor& target) const {
  at::Tensor now = std::move(x);  // gone with the next layer's output
  for (std::size_t i = conv; i <= last; ++i) {
    const std::int64_t n = now.size(0), most = together(i);
    if (n > most) {
      for (std::int64_t first = 0; first < n; first += most) {
        const std::int64_t part = std::min(most, n - first);
        run_from(i, last, now.narrow(0, first, part), target.narrow(0, first, part));
      }
      return;
    }
    Painting to = painting(i, target);
    now = run_layer(folded_[i], now, to, i < last);
  }
}

void Painter::perturb_from(std::size_t conv, const at::Tensor& channels, const at::Tensor& plus,
                           const at::Tensor& minus, at::Tensor& target) const {
  Painting to = painting(conv, target);
  run_from(conv + 1, last_for(conv), perturbed_layer(folded_[conv], bases_[conv], channels, plus, minus, to), target);
}

at::Tensor Painter::paint_conv(std::size_t conv, const at::Tensor& channels, const at::Tensor& plus,
                               const at::Tensor& minus) const {
  const std::size_t first = to_rgb_after(conv), last = to_rgb_after(last_for(conv));
  const std::int64_t k = channels.numel();
  // What stands on the canvas before the changed layers paint: all that came before, and what comes after the last of them.
  at::Tensor around = first == 0 ? at::zeros_like(base()) : totals_[first - 1];
  if (last + 1 < totals_.size()) around = around + (base() - totals_[last]);
  const auto start = [&](std::int64_t n) { return around.expand({n, -1, -1, -1}).clone(); };
  const std::int64_t most = together(conv) / 2;
  if (k <= most) {
    at::Tensor canvas = start(2 * k);
    perturb_from(conv, channels, plus, minus, canvas);
    return canvas;
  }
  // A part's pictures are its channels' plus, then their minus: they go to two places of the whole.
  at::Tensor canvas = at::zeros({2, k, 3, canvas_.size(), canvas_.size()}, network_.input.options());
  for (std::int64_t done = 0; done < k; done += most) {
    const std::int64_t n = std::min(most, k - done);
    at::Tensor part = start(2 * n);
    perturb_from(conv, channels.narrow(0, done, n), plus.narrow(0, done, n), minus.narrow(0, done, n), part);
    canvas.narrow(1, done, n).copy_(part.view({2, n, 3, canvas_.size(), canvas_.size()}));
  }
  return canvas.flatten(0, 1);
}

at::Tensor Painter::paint_to_rgb(std::size_t index, const at::Tensor& channels, const at::Tensor& plus,
                                 const at::Tensor& minus) const {
  const PrecisionGuard ieee(Precision::Float32);                           // a small change of the base's picture
  const at::Tensor planes = rgb_inputs_[index].index_select(0, channels);  // [K, r, r]
  const at::Tensor colours = network_.to_rgbs[index].weight.index_select(1, channels).t();  // [K, 3]
  const at::Tensor style = rgb_styles_[index].index_select(0, channels);                    // [K]
  const double limit = network_.limit();
  std::vector<at::Tensor> signs;
  // Without a clamp the picture changes by a multiple of one plane; only the plane has to go through the resampling.
  const bool clamped = std::isfinite(limit);
  const at::Tensor spread = clamped ? planes : canvas_.spread(index, planes);
  const FoldedRgb unclamped{folded_rgb_[index].weight, folded_rgb_[index].bias};
  const at::Tensor raw = clamped ? mix(unclamped, rgb_inputs_[index].unsqueeze(0)) : at::Tensor();
  for (const at::Tensor& value : {plus, minus}) {
    const at::Tensor step = colours * (value - style).unsqueeze(1);
    at::Tensor change = step.unsqueeze(2).unsqueeze(3) * spread.unsqueeze(1);
    if (clamped) {
      change = (raw + change).clamp(-limit, limit) - raw.clamp(-limit, limit);
      change = canvas_.spread(index, change.flatten(0, 1)).view({-1, 3, canvas_.size(), canvas_.size()});
    }
    signs.push_back(base() + change);
  }
  return at::cat(signs);
}

}  // namespace styleclip::exact
