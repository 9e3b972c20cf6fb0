// Pictures that the exact sweep paints, in every way that a device has, on this processor: against the archive's own
// code in float64, picture by picture.
#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/core/InferenceMode.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "float64_world.h"
#include "relevance/exact/canvas.h"
#include "relevance/exact/network.h"
#include "relevance/exact/painter.h"
#include "relevance/precision.h"
#include "rounding.h"
#include "tiny_world.h"

namespace {

using styleclip::Precision;
using styleclip::PrecisionGuard;
using styleclip::exact::Canvas;
using styleclip::exact::Network;
using styleclip::exact::Painter;
using styleclip::exact::PainterSettings;

constexpr std::int64_t kCanvas = 32;
constexpr double kStep = 0.4;  // of a style

struct Sample {
  Network network = *styleclip::exact::read_network(tiny::generator());
  Canvas canvas{network, kCanvas};
  at::Tensor s;  // [total]
  std::vector<at::Tensor> noise = styleclip::exact::noise_of(network, styleclip::NoiseMode::Const, 0, 0);

  Sample() {
    styleclip::Generator& generator = tiny::generator();
    s = generator.styles(generator.truncate(generator.mapping(generator.sample_z(1, 4)), 0.7, -1))[0];
  }
  std::vector<at::Tensor> styles() const {
    std::vector<at::Tensor> all = tiny::generator().layout().unflatten(s.unsqueeze(0));
    for (at::Tensor& style : all) style = style[0];
    return all;
  }
};

// All channels of each layer in turn: [2 channels, 3, size, size] each, in the layout's order, plus first.
std::vector<at::Tensor> painted(const Sample& sample, const PainterSettings& settings) {
  const Painter painter(sample.network, sample.canvas, sample.styles(), sample.noise, settings);
  std::vector<at::Tensor> pictures = {painter.base().unsqueeze(0)};
  std::size_t conv = 0, to_rgb = 0;
  for (const styleclip::StyleLayer& layer : tiny::generator().layout().layers) {
    const at::Tensor channels = at::arange(layer.channels, at::kLong);
    const at::Tensor style = sample.s.narrow(0, layer.offset, layer.channels);
    pictures.push_back(layer.to_rgb ? painter.paint_to_rgb(to_rgb++, channels, style + kStep, style - kStep)
                                    : painter.paint_conv(conv++, channels, style + kStep, style - kStep));
  }
  return pictures;
}

// The same by the archive's code in float64.
at::Tensor wanted(const Sample& sample, const float64::Generator& generator) {
  std::vector<at::Tensor> codes = {sample.s.unsqueeze(0)};
  for (const styleclip::StyleLayer& layer : tiny::generator().layout().layers) {
    const at::Tensor style = sample.s.narrow(0, layer.offset, layer.channels);
    for (const double step : {kStep, -kStep}) {
      const at::Tensor changed = sample.s.expand({layer.channels, -1}).clone();
      changed.narrow(1, layer.offset, layer.channels).diagonal().copy_(style + step);
      codes.push_back(changed);
    }
  }
  return at::_upsample_bicubic2d_aa(generator.synthesis(float64::wide(at::cat(codes))), {kCanvas, kCanvas}, false);
}

}  // namespace

TEST_CASE("painted pictures: as a processor and as any other device paints them, in float32 and bfloat16") {
  const c10::InferenceMode guard(false);
  const Sample sample;
  float64::Generator generator(tiny::kGeneratorConfig, tiny::generator());
  const auto compute = [&] { return float64::Tensors{wanted(sample, generator)}; };
  // The resampling's taps, beside the layers' own.
  const float64::Rounded single = float64::rounded({&generator}, 54 + 16, compute);
  // Weights and activations are rounded once more, to the type: each term of a sum twice.
  const double by = 3 * (rounding::roundoff(at::kFloat) * std::sqrt(generator.terms() + 16) +
                         std::sqrt(2.0) * rounding::roundoff(at::kBFloat16));
  const float64::Rounded half = float64::moved({&generator}, by, compute);
  for (const std::int64_t together : {std::int64_t{0}, std::int64_t{1}, styleclip::exact::kCpuTogether}) {
    CAPTURE(together);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      CAPTURE(type);
      const PainterSettings settings{type, together};
      const at::Tensor got = at::cat(painted(sample, settings));
      const float64::Rounded& bounds = type == at::kFloat ? single : half;
      REQUIRE(got.sizes() == bounds.exact[0].sizes());
      const at::Tensor off = (float64::wide(got) - bounds.exact[0]).abs().flatten(1).amax(1);
      CHECK(off.max().item<double>() <= bounds.bounds[0]);
      // The bound says something: a channel's change of the picture is larger.
      const at::Tensor change =
          (bounds.exact[0] - bounds.exact[0][0]).abs().flatten(1).amax(1).narrow(0, 1, off.numel() - 1);
      CHECK(bounds.bounds[0] < change.median().item<double>());
      if (type == at::kFloat) CHECK(bounds.bounds[0] < 0.01 * change.median().item<double>());
    }
  }
  // Which way it is shows in what an up layer's weights are folded to.
  const auto& up = sample.network.convs[1];
  REQUIRE(up.up);
  const auto folded = [&](std::int64_t together) {
    return styleclip::exact::fold(up, sample.styles()[2], {}, 1, at::kFloat,
                                  PainterSettings{at::kFloat, together}.up_layer())
        .weight.dim();
  };
  CHECK(folded(0) == 4);
  CHECK(folded(styleclip::exact::kCpuTogether) == 2);
}

namespace {

// What TF32's switches were at each of libtorch's convolutions and matrix products.
std::vector<std::pair<std::string, bool>>& seen() {
  static std::vector<std::pair<std::string, bool>> all;
  return all;
}
std::unique_ptr<at::ObserverContext> note(const at::RecordFunction& function) {
  const std::string name = function.name();
  for (const char* one : {"aten::convolution", "aten::mm", "aten::bmm", "aten::addmm", "aten::mv", "aten::dot"}) {
    if (name != one) continue;
    const at::Context& context = at::globalContext();
    CHECK(context.allowTF32CuDNN() == context.allowTF32CuBLAS());
    seen().emplace_back(name, context.allowTF32CuBLAS());
  }
  return nullptr;
}

// Calls during `work` that may round to TF32, and all.
template <typename Work>
std::pair<std::ptrdiff_t, std::ptrdiff_t> rounded(Work&& work) {
  seen().clear();
  const at::CallbackHandle handle = at::addThreadLocalCallback(at::RecordFunctionCallback(note));
  work();
  at::removeCallback(handle);
  const auto all = std::exchange(seen(), {});
  return {std::count_if(all.begin(), all.end(), [](const auto& one) { return one.second; }), std::ssize(all)};
}

}  // namespace

TEST_CASE("painted pictures in TF32: what they start from, and changes of colours, are IEEE's") {
  const c10::InferenceMode guard(false);
  const Sample sample;
  const PrecisionGuard precision(Precision::TF32);
  std::optional<Painter> painter;
  const auto base = rounded(
      [&] { painter.emplace(sample.network, sample.canvas, sample.styles(), sample.noise, PainterSettings{}); });
  CHECK(base.first == 0);
  CHECK(base.second >= 2 * std::ssize(sample.network.convs));
  const at::Tensor channels = at::arange(3, at::kLong), values = at::ones({3});
  const auto colours = rounded([&] { painter->paint_to_rgb(0, channels, values, -values); });
  CHECK(colours.first == 0);
  CHECK(colours.second > 0);
  const auto suffix = rounded([&] { painter->paint_conv(0, channels, values, -values); });
  CHECK(suffix.first > 0);
  CHECK(at::globalContext().allowTF32CuBLAS());
}
