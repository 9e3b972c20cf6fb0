// The CPU's up layer against the operators that define it, in float64, for every instruction set that this processor has.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "relevance/exact/layers.h"
#include "relevance/exact/up_layer_cpu.h"
#include "rounding.h"

namespace {

using styleclip::Instructions;
using styleclip::exact::Conv;
using styleclip::exact::FoldedConv;

/// Transposed convolution and FIR filter: x [n, inputs, h, h], weight [outputs, inputs, 3, 3] -> [n, outputs, 2 h, 2 h].
at::Tensor filtered(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& filter) {
  const at::Tensor t = at::conv_transpose2d(x, weight.transpose(0, 1), {}, 2);
  const std::int64_t outputs = weight.size(0);
  const at::Tensor window = at::outer(filter, filter).view({1, 1, 4, 4}).expand({outputs, 1, 4, 4});
  return at::conv2d(t, window, {}, 1, 1, 1, outputs);
}

void check(std::int64_t n, std::int64_t side, std::int64_t inputs, std::int64_t outputs, at::ScalarType type,
           Instructions instructions, bool noise) {
  const c10::InferenceMode guard;
  Conv conv;
  conv.inputs = inputs;
  conv.outputs = outputs;
  conv.resolution = 2 * side;
  conv.up = true;
  conv.filter = at::tensor({0.3F, 0.7F, 0.8F, 0.2F});  // not symmetric, so that a turned one is seen
  const at::Tensor weight =
      (at::randn({outputs, inputs, 3, 3}) / std::sqrt(9.0 * static_cast<double>(inputs))).to(type);
  const at::Tensor x = at::randn({n, inputs, side, side}).to(type).contiguous(at::MemoryFormat::ChannelsLast);
  FoldedConv folded;
  folded.conv = &conv;
  folded.weight = styleclip::exact::up_layer_weight(weight, type);
  folded.bias = at::randn({outputs});
  if (noise) folded.noise = at::randn({2 * side, 2 * side});
  folded.limit = 1.5;
  at::Tensor y = at::empty({n, outputs, 2 * side, 2 * side}, x.options(), at::MemoryFormat::ChannelsLast).fill_(NAN);
  styleclip::exact::up_layer_cpu(folded, x, y, instructions);

  const at::Tensor filter = conv.filter.to(at::kDouble), w = weight.to(at::kDouble), in = x.to(at::kDouble);
  at::Tensor sum = filtered(in, w, filter) + folded.bias.to(at::kDouble).view({-1, 1, 1});
  if (noise) sum = sum + folded.noise.to(at::kDouble);
  const at::Tensor wanted = at::leaky_relu(sum, 0.2).clamp(-1.5, 1.5);
  // Products are sums of `inputs` terms in float32, rounded to the type; the filter sums 16 of them in float32, and the
  // result is rounded: each to within its unit roundoff of the sum of magnitudes. Below float16's smallest normal number a
  // rounding is off by half the smallest of all, 2^-25, whatever the size: that of a product, times what the filter makes of
  // it, and that of the result.
  at::Tensor sizes = filtered(in.abs(), w.abs(), filter) + folded.bias.to(at::kDouble).abs().view({-1, 1, 1});
  if (noise) sizes = sizes + folded.noise.to(at::kDouble).abs();
  const double u = rounding::roundoff(type), single = rounding::roundoff(at::kFloat) * static_cast<double>(inputs + 24);
  const double gain = std::pow(filter.abs().sum().item<double>(), 2);
  const double tiny = type == at::kHalf ? 0x1p-25 * (gain + 1) : 0;
  const at::Tensor bound = sizes * (u + single) + wanted.abs() * u + tiny;
  const at::Tensor excess = (y.to(at::kDouble) - wanted).abs() - bound;
  CHECK(excess.max().item<double>() <= 0);
}

}  // namespace

TEST_CASE("the CPU's up layer: every instruction set, number type, any size and channel count") {
  at::manual_seed(11);
  for (const Instructions instructions : styleclip::known_instructions()) {
    CAPTURE(static_cast<int>(instructions));
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      CAPTURE(type);
      for (const std::int64_t outputs : {1, 3, 4, 15, 16, 17, 40}) {
        CAPTURE(outputs);
        check(2, 4, 5, outputs, type, instructions, true);
      }
      check(1, 1, 3, 8, type, instructions, false);
      check(3, 3, 7, 20, type, instructions, true);
      check(5, 2, 16, 16, type, instructions, false);
      check(3, 16, 24, 96, type, instructions, true);  // a product takes part of a picture
      check(2, 33, 8, 35, type, instructions, true);
    }
  }
}

TEST_CASE("the CPU's up layer: without a bias the linear part alone, negative numbers as they are, unclamped") {
  const c10::InferenceMode guard;
  at::manual_seed(12);
  Conv conv;
  conv.inputs = 7;
  conv.outputs = 35;
  conv.resolution = 10;
  conv.up = true;
  conv.filter = at::tensor({0.3F, 0.7F, 0.8F, 0.2F});
  const at::Tensor weight = at::randn({conv.outputs, conv.inputs, 3, 3});
  const at::Tensor x = at::randn({2, conv.inputs, 5, 5}).contiguous(at::MemoryFormat::ChannelsLast);
  FoldedConv linear;
  linear.conv = &conv;
  linear.weight = styleclip::exact::up_layer_weight(weight, at::kFloat);
  linear.limit = 0.5;
  const at::Tensor wide = x.to(at::kDouble), filter = conv.filter.to(at::kDouble), w = weight.to(at::kDouble);
  const at::Tensor wanted = filtered(wide, w, filter), sizes = filtered(wide.abs(), w.abs(), filter);
  const double u = rounding::roundoff(at::kFloat) * static_cast<double>(conv.inputs + 24);
  for (const Instructions instructions : styleclip::known_instructions()) {
    at::Tensor y = at::empty({2, conv.outputs, 10, 10}, x.options(), at::MemoryFormat::ChannelsLast).fill_(NAN);
    styleclip::exact::up_layer_cpu(linear, x, y, instructions);
    CHECK(((y.to(at::kDouble) - wanted).abs() - u * sizes).max().item<double>() <= 0);
  }
}

TEST_CASE("the CPU's up layer: NaN stays NaN and infinity is clamped") {
  const c10::InferenceMode guard;
  Conv conv;
  conv.inputs = 1;
  conv.outputs = 16;
  conv.resolution = 8;
  conv.up = true;
  conv.filter = at::tensor({0.25F, 0.75F, 0.75F, 0.25F});
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    FoldedConv folded;
    folded.conv = &conv;
    folded.weight = styleclip::exact::up_layer_weight(at::ones({16, 1, 3, 3}), type);
    folded.bias = at::zeros({16});
    folded.bias[3] = NAN;
    folded.bias[4] = INFINITY;
    folded.bias[5] = -INFINITY;
    folded.limit = 256;
    const at::Tensor x = at::ones({1, 1, 4, 4}, type).contiguous(at::MemoryFormat::ChannelsLast);
    for (const Instructions instructions : styleclip::known_instructions()) {
      at::Tensor y = at::empty({1, 16, 8, 8}, x.options(), at::MemoryFormat::ChannelsLast).zero_();
      styleclip::exact::up_layer_cpu(folded, x, y, instructions);
      CHECK(y.select(1, 3).isnan().all().item<bool>());
      CHECK((y.select(1, 4) == 256).all().item<bool>());
      CHECK((y.select(1, 5) == -256).all().item<bool>());
      CHECK(y.select(1, 6).isfinite().all().item<bool>());
    }
  }
}
