// The base pass, and the suffix after a changed layer. With both values of K channels in one batch, all 2 K pictures share
// every style after the changed layer, so its weights are folded once a picture.
#include "relevance/exact/painter.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

namespace styleclip::exact {
namespace {

// The toRGB layer that follows convolution `conv`, or stands in its block: conv 0 -> 0, convs 1 and 2 -> 1, …
std::size_t to_rgb_after(std::size_t conv) { return (conv + 1) / 2; }

}  // namespace

Painter::Painter(const Network& network, const Canvas& canvas, const std::vector<at::Tensor>& styles,
                 const std::vector<at::Tensor>& noise)
    : network_(network), canvas_(canvas) {
  for (const ToRgb& layer : network.to_rgbs) {
    rgb_styles_.push_back(styles[static_cast<std::size_t>(layer.layer)]);
    folded_rgb_.push_back(fold(layer, rgb_styles_.back(), network.clamp));
  }
  at::Tensor x = network.input.unsqueeze(0).contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor total = at::zeros({1, 3, canvas.size(), canvas.size()}, network.input.options());
  for (std::size_t i = 0; i < network.convs.size(); ++i) {
    const Conv& conv = network.convs[i];
    const at::Tensor& style = styles[static_cast<std::size_t>(conv.layer)];
    folded_.push_back(fold(conv, style, noise[i], network.clamp));
    bases_.push_back(layer_base(conv, x[0], style));
    const Activated made = run_layer(folded_.back(), x, rgb_after(i));
    x = made.y;
    if (!made.rgb.defined()) continue;
    rgb_inputs_.push_back(x[0]);
    total = total.clone();
    canvas.add(total, i / 2, made.rgb);
    totals_.push_back(total[0]);
  }
}

// toRGB comes after the first convolution, and after the second one of each later block.
const FoldedRgb* Painter::rgb_after(std::size_t conv) const { return conv % 2 == 0 ? &folded_rgb_[conv / 2] : nullptr; }

at::Tensor Painter::paint_conv(std::size_t conv, const at::Tensor& channels, const at::Tensor& plus,
                               const at::Tensor& minus) const {
  const std::size_t first = to_rgb_after(conv);
  const std::int64_t n = 2 * channels.numel();
  at::Tensor canvas = first == 0 ? at::zeros({n, 3, canvas_.size(), canvas_.size()}, network_.input.options())
                                 : totals_[first - 1].expand({n, -1, -1, -1}).clone();
  Activated now = perturbed_layer(folded_[conv], bases_[conv], channels, plus, minus, rgb_after(conv));
  for (std::size_t i = conv;; ++i) {
    if (now.rgb.defined()) canvas_.add(canvas, i / 2, now.rgb);
    if (i + 1 == folded_.size()) return canvas;
    now = run_layer(folded_[i + 1], now.y, rgb_after(i + 1), i + 2 < folded_.size());
  }
}

at::Tensor Painter::paint_to_rgb(std::size_t index, const at::Tensor& channels, const at::Tensor& plus,
                                 const at::Tensor& minus) const {
  const at::Tensor planes = rgb_inputs_[index].index_select(0, channels);                   // [K, r, r]
  const at::Tensor colours = network_.to_rgbs[index].weight.index_select(1, channels).t();  // [K, 3]
  const at::Tensor style = rgb_styles_[index].index_select(0, channels);                    // [K]
  std::vector<at::Tensor> signs;
  // Without a clamp the picture changes by a multiple of one plane; only the plane has to go through the resampling.
  const at::Tensor spread = network_.clamp ? planes : canvas_.spread(index, planes);
  const FoldedRgb unclamped{folded_rgb_[index].weight, folded_rgb_[index].bias, std::nullopt};
  const at::Tensor raw = network_.clamp ? mix(unclamped, rgb_inputs_[index].unsqueeze(0)) : at::Tensor();
  for (const at::Tensor& value : {plus, minus}) {
    const at::Tensor step = colours * (value - style).unsqueeze(1);
    at::Tensor change = step.unsqueeze(2).unsqueeze(3) * spread.unsqueeze(1);
    if (network_.clamp) {
      const double limit = *network_.clamp;
      change = (raw + change).clamp(-limit, limit) - raw.clamp(-limit, limit);
      at::Tensor canvas = at::zeros({change.size(0), 3, canvas_.size(), canvas_.size()}, change.options());
      canvas_.add(canvas, index, change);
      change = canvas;
    }
    signs.push_back(base() + change);
  }
  return at::cat(signs);
}

}  // namespace styleclip::exact
