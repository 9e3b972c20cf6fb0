// A same-size layer's two ways to CLIP's canvas beside each other: libtorch's convolution and activate_to_canvas, and
// convolve_to_canvas, which a painter takes where it is told to and the layer fits.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <doctest/doctest.h>

#include <cmath>

#include "forced.h"
#include "relevance/exact/layers.h"
#include "rounding.h"

namespace {

using styleclip::exact::Canvas;
using styleclip::exact::Conv;
using styleclip::exact::FoldedConv;
using styleclip::exact::FoldedRgb;
using styleclip::exact::Network;
using styleclip::exact::Painting;
using styleclip::exact::SameLayer;

constexpr std::int64_t kSide = 12, kSize = 8;

struct Layer {
  Conv conv;
  FoldedConv folded;
  FoldedRgb rgb;
  at::Tensor x;

  Layer(std::int64_t inputs, std::int64_t outputs, at::ScalarType type) {
    conv.inputs = inputs;
    conv.outputs = outputs;
    conv.resolution = kSide;
    folded.conv = &conv;
    folded.weight = (at::randn({outputs, inputs, 3, 3}) / std::sqrt(9.0 * static_cast<double>(inputs)))
                        .to(type)
                        .contiguous(at::MemoryFormat::ChannelsLast);
    folded.bias = at::randn({outputs});
    folded.noise = at::randn({kSide, kSide});
    folded.limit = 2;
    rgb = {at::randn({3, outputs}), at::randn({3}), 4};
    x = at::randn({2, inputs, kSide, kSide}).to(type).contiguous(at::MemoryFormat::ChannelsLast);
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  struct Result {
    at::Tensor y, canvas;
  };
  Result run(const Canvas& canvas, SameLayer way, bool keep) {
    folded.same_layer = way;
    Painting painting{&rgb, &canvas, 0, at::ones({2, 3, kSize, kSize})};
    const at::Tensor y = styleclip::exact::run_layer(folded, x, painting, keep);
    return {y, painting.target};
  }
};

Network network_of(std::int64_t outputs) {
  Network network;
  network.image_size = kSide;
  styleclip::exact::ToRgb to_rgb;
  to_rgb.inputs = outputs;
  to_rgb.resolution = kSide;
  to_rgb.weight = at::zeros({3, outputs});
  network.to_rgbs.push_back(to_rgb);
  return network;
}

at::Tensor wide(const at::Tensor& x) { return x.to(at::kDouble); }

}  // namespace

TEST_CASE("a same-size layer: both ways give the same picture, to the roundings between them") {
  const c10::InferenceMode guard;
  at::manual_seed(5);
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    CAPTURE(type);
    Layer layer(32, 48, type);
    const Network network = network_of(48);
    const Canvas canvas(network, kSize);
    const Layer::Result stock = layer.run(canvas, SameLayer::Convolution, true);
    // Sums of magnitudes, which a rounding of each of the terms is held against: of the convolution in the type, where
    // it is stored, of y in the type, and of each of the sums in float32.
    const double u = rounding::roundoff(type) + 400 * rounding::roundoff(at::kFloat);
    const at::Tensor sizes = at::conv2d(wide(layer.x).abs(), wide(layer.folded.weight).abs(), {}, 1, 1) +
                             wide(layer.folded.bias).abs().view({-1, 1, 1}) + wide(layer.folded.noise).abs();
    const at::Tensor colors = at::einsum("ci,nihw->nchw", {wide(layer.rgb.weight).abs(), sizes});
    const at::Tensor m = wide(canvas.matrix(0)).abs();
    const at::Tensor painted = at::matmul(at::matmul(m, colors + wide(layer.rgb.bias).abs().view({-1, 1, 1})), m.t());
    for (const std::string name : {"reference", "cpu"}) {
      CAPTURE(name);
      const Forced forced("convolve_to_canvas", name);
      for (const bool keep : {true, false}) {
        const Layer::Result other = layer.run(canvas, SameLayer::ToCanvas, keep);
        CHECK(((wide(other.canvas) - wide(stock.canvas)).abs() - 4 * u * (painted + 1)).max().item<double>() <= 0);
        REQUIRE(other.y.defined() == keep);
        if (keep) CHECK(((wide(other.y) - wide(stock.y)).abs() - 4 * u * sizes).max().item<double>() <= 0);
      }
    }
  }
}

TEST_CASE("a same-size layer that convolve_to_canvas does not take runs the stock way") {
  const c10::InferenceMode guard;
  struct Unfit {
    std::int64_t inputs, outputs;
    at::ScalarType type;
  };
  for (const Unfit& unfit : {Unfit{16, 16, at::kFloat}, Unfit{8, 16, at::kBFloat16}, Unfit{16, 80, at::kBFloat16}}) {
    Layer layer(unfit.inputs, unfit.outputs, unfit.type);
    CHECK_FALSE(styleclip::exact::fits_to_canvas(layer.conv, unfit.type));
    const Network network = network_of(unfit.outputs);
    const Canvas canvas(network, kSize);
    const Layer::Result stock = layer.run(canvas, SameLayer::Convolution, true);
    const Layer::Result other = layer.run(canvas, SameLayer::ToCanvas, true);
    CHECK(at::equal(stock.canvas, other.canvas));
    CHECK(at::equal(stock.y, other.y));
  }
  Layer layer(16, 16, at::kHalf);
  CHECK(styleclip::exact::fits_to_canvas(layer.conv, at::kHalf));
  layer.conv.up = true;
  CHECK_FALSE(styleclip::exact::fits_to_canvas(layer.conv, at::kHalf));
}
