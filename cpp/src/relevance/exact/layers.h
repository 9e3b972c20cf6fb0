// One layer of the network for a batch that shares its styles, and for a batch that differs from a base in one style
// channel. Convolutions are libtorch's, all that stands between them is ours (styleclip/ops.h); only an up layer has
// a way of its own for a CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <limits>

#include "relevance/exact/canvas.h"
#include "relevance/exact/network.h"

namespace styleclip::exact {

/// How an up layer runs.
enum class UpLayer {
  Convolution,  // libtorch's transposed convolution, then filter_activate: on any device
  Strips,       // up_layer_cpu
};
/// How a same-size layer runs that a toRGB follows.
enum class SameLayer {
  Convolution,  // libtorch's convolution, then activate_to_canvas
  ToCanvas,     // convolve_to_canvas, where it takes the layer; else as above. Not measured on any device yet
};
/// What the device is fastest with.
UpLayer up_layer_of(const c10::Device& device);

/// A layer with the style of one picture folded into plain weights; √2 too, since leaky ReLU is positively homogeneous:
///   y = clamp(leaky_relu(conv(weight, x) + noise + bias, 0.2), ±limit)
struct FoldedConv {
  const Conv* conv = nullptr;
  UpLayer up_layer = UpLayer::Convolution;
  SameLayer same_layer = SameLayer::Convolution;
  at::Tensor weight;  // as convolve() wants it, in the activations' type
  at::Tensor bias;    // [outputs] float32
  at::Tensor noise;   // [resolution, resolution] float32, or undefined
  double limit = std::numeric_limits<double>::infinity();
};
/// `type`: of the activations.
FoldedConv fold(const Conv& conv, const at::Tensor& style, const at::Tensor& noise, double limit, at::ScalarType type,
                UpLayer up_layer);
/// As the weights' device is fastest with it.
FoldedConv fold(const Conv& conv, const at::Tensor& style, const at::Tensor& noise, double limit, at::ScalarType type);

/// The same of a toRGB layer: rgb = clamp(weight x + bias, ±limit). Float32.
struct FoldedRgb {
  at::Tensor weight;  // [3, inputs]
  at::Tensor bias;    // [3]
  double limit = std::numeric_limits<double>::infinity();
};
FoldedRgb fold(const ToRgb& to_rgb, const at::Tensor& style, double limit);

/// Where a layer's toRGB goes: its share of CLIP's canvas [n, 3, size, size] is added.
struct Painting {
  const FoldedRgb* rgb = nullptr;  // null: no toRGB follows this layer
  const Canvas* canvas = nullptr;
  std::size_t index = 0;  // of the toRGB layer
  at::Tensor target;
  /// This for pictures first … first + n − 1.
  Painting narrow(std::int64_t first, std::int64_t n) const;
};

/// Whether run_layer can take SameLayer::ToCanvas for it, with activations of `type`.
bool fits_to_canvas(const Conv& conv, at::ScalarType type);

/// x [n, inputs, h, w] channels last -> y [n, outputs, r, r] channels last. `keep` false: nobody asks for y, which may
/// be undefined then.
at::Tensor run_layer(const FoldedConv& folded, const at::Tensor& x, Painting& painting, bool keep = true);

/// A layer's linear part for one picture, before demodulation: what perturbing one of its channels starts from. Float32
/// whatever the activations are: a changed channel may cancel most of u.
struct LayerBase {
  at::Tensor input;     // [inputs, h, w], before the style
  at::Tensor linear;    // [r r, outputs]: u, the FIR filter included
  at::Tensor style;     // [inputs]
  at::Tensor variance;  // [outputs]: σ², epsilon included
};
LayerBase layer_base(const Conv& conv, const at::Tensor& input, const at::Tensor& style, UpLayer up_layer);

/// What the layer makes of its base: [1, outputs, r, r] float32, channels last. Of `folded` all but the weight is asked for.
at::Tensor base_output(const FoldedConv& folded, const LayerBase& base, Painting& painting);

/// The layer's output for K channels, each with both values: a rank-1 update of u and of σ². channels [K] int64, plus and
/// minus [K] -> [2 K, outputs, r, r], channels last, plus first, in the weight's type.
at::Tensor perturbed_layer(const FoldedConv& folded, const LayerBase& base, const at::Tensor& channels,
                           const at::Tensor& plus, const at::Tensor& minus, Painting& painting);

/// [3, inputs] on x [n, inputs, r, r] -> [n, 3, r, r] float32, bias and clamp included.
at::Tensor mix(const FoldedRgb& rgb, const at::Tensor& x);

}  // namespace styleclip::exact
