// One layer of the network for a batch that shares its styles, and for a batch that differs from a base in one style
// channel. Written in tensor algebra, for any device; the fast paths stand beside (layers_cpu.cpp).
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "relevance/exact/network.h"

namespace styleclip::exact {

/// A layer with the style of one picture folded into plain weights; √2 too, since leaky ReLU is positively homogeneous:
///   y = clamp(leaky_relu(conv(weight, x) + noise + bias, 0.2))
struct FoldedConv {
  const Conv* conv = nullptr;
  at::Tensor weight;  // [outputs, inputs, 3, 3]
  at::Tensor bias;    // [outputs]
  at::Tensor noise;   // [resolution, resolution], or undefined
  std::optional<double> clamp;
  at::Tensor taps;  // [inputs, 9 outputs]: an up layer's weight for one matrix product
};
FoldedConv fold(const Conv& conv, const at::Tensor& style, const at::Tensor& noise, std::optional<double> clamp);

/// The same of a toRGB layer: rgb = clamp(weight x + bias).
struct FoldedRgb {
  at::Tensor weight;  // [3, inputs]
  at::Tensor bias;    // [3]
  std::optional<double> clamp;
};
FoldedRgb fold(const ToRgb& to_rgb, const at::Tensor& style, std::optional<double> clamp);

/// What a layer gives: y [n, outputs, r, r] channels last, and the RGB of the toRGB layer that follows it, if one does.
struct Activated {
  at::Tensor y;    // undefined after the last layer, where nobody asks for it
  at::Tensor rgb;  // [n, 3, r, r]
};

/// x [n, inputs, h, w] channels last. `rgb` may be null; `keep` says whether y is wanted.
Activated run_layer(const FoldedConv& folded, const at::Tensor& x, const FoldedRgb* rgb, bool keep = true);

/// A layer's linear part for one picture, before demodulation: what perturbing one of its channels starts from.
struct LayerBase {
  at::Tensor input;     // [inputs, h, w], before the style
  at::Tensor linear;    // [outputs, r, r]: u, the FIR filter included
  at::Tensor style;     // [inputs]
  at::Tensor variance;  // [outputs]: σ², epsilon included
};
LayerBase layer_base(const Conv& conv, const at::Tensor& input, const at::Tensor& style);

/// The layer's output for K channels, each with both values: a rank-1 update of u and of σ². channels [K] int64, plus and
/// minus [K] -> [2 K, outputs, r, r], channels last: plus first.
Activated perturbed_layer(const FoldedConv& folded, const LayerBase& base, const at::Tensor& channels,
                          const at::Tensor& plus, const at::Tensor& minus, const FoldedRgb* rgb);

/// The same in tensor algebra, on any device: what the fast paths are held against.
Activated run_layer_reference(const FoldedConv& folded, const at::Tensor& x, const FoldedRgb* rgb);
Activated perturbed_layer_reference(const FoldedConv& folded, const LayerBase& base, const at::Tensor& channels,
                                    const at::Tensor& plus, const at::Tensor& minus, const FoldedRgb* rgb);
/// The CPU's paths, float32 only.
Activated run_layer_cpu(const FoldedConv& folded, const at::Tensor& x, const FoldedRgb* rgb, bool keep);
Activated perturbed_layer_cpu(const FoldedConv& folded, const LayerBase& base, const at::Tensor& channels,
                              const at::Tensor& plus, const at::Tensor& minus, const FoldedRgb* rgb);

/// [3, inputs] on x [n, inputs, r, r] channels last -> [n, 3, r, r], bias and clamp included.
at::Tensor mix(const FoldedRgb& rgb, const at::Tensor& x);

}  // namespace styleclip::exact
