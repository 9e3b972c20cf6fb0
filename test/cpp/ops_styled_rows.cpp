// The way back through a layer's end, pixel by pixel: every instruction set, everything that may come from above, and any
// number of channels and pixels, against float64.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "ops/styled_rows_cpu.h"

namespace {

using styleclip::Instructions;
using styleclip::rows::LayerEnd;
using styleclip::rows::Sums;
using styleclip::rows::Upstream;

struct Case {
  std::int64_t pixels, channels;
  bool given, styled, coloured;
  bool noise = true;
  float limit = std::numeric_limits<float>::infinity();
};

const float* data(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }

// What is computed and the sum of the absolute values of its terms, both float64: rounding errors are in proportion to the
// latter.
struct Expected {
  at::Tensor value, size;
};

void check_close(const at::Tensor& found, const Expected& expected, double roundings) {
  const at::Tensor off = (found.to(at::kDouble) - expected.value).abs();
  CHECK((off <= roundings * 0x1p-24 * expected.size).all().item<bool>());
}

void check(const Case& which, Instructions instructions) {
  CAPTURE(which.pixels);
  CAPTURE(which.channels);
  CAPTURE(which.styled);
  CAPTURE(which.coloured);
  const at::Tensor y = at::randn({which.pixels, which.channels});
  const bool clamped = std::isfinite(which.limit);
  if (clamped) y.clamp_(-which.limit, which.limit);
  const at::Tensor gradient = at::randn_like(y), gain = at::rand({which.channels}) + 0.5;
  const at::Tensor bias = at::randn({which.channels}), style = at::randn({which.channels});
  const at::Tensor colours = at::randn({3, which.channels}), rgb = at::randn({3, which.pixels});
  const at::Tensor noise = at::randn({which.pixels});
  Upstream<float> above;
  if (which.given) above.gradient = data(gradient);
  if (which.styled) above.style = data(style);
  if (which.coloured) above.colours = data(colours);
  for (std::size_t q = 0; which.coloured && q < 3; ++q) {
    above.rgb[q] = data(rgb) + static_cast<std::int64_t>(q) * which.pixels;
  }
  // Sums are added to what is there, pixels' own are written.
  at::Tensor to_x = at::full_like(y, 7), to_gain = at::ones({which.channels}), to_bias = at::ones({which.channels});
  at::Tensor to_style = at::ones({which.channels}), to_colours = at::ones({3, which.channels});
  at::Tensor to_noise = at::full({which.pixels}, 7.0F);
  const bool plain = which.given && !which.styled && !which.coloured;
  Sums<float> sums;
  sums.gain = to_gain.mutable_data_ptr<float>();
  if (plain) {
    sums.bias = to_bias.mutable_data_ptr<float>();
    sums.noise = to_noise.mutable_data_ptr<float>();
  }
  sums.style = to_style.mutable_data_ptr<float>();
  for (std::size_t q = 0; q < 3; ++q) {
    sums.colours[q] = to_colours.mutable_data_ptr<float>() + static_cast<std::int64_t>(q) * which.channels;
  }
  styleclip::rows::unfinish(above, data(y), which.pixels,
                            LayerEnd<float>{data(gain), data(bias), which.limit, which.channels},
                            which.noise ? data(noise) : nullptr, to_x.mutable_data_ptr<float>(), sums, instructions);

  const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble); };
  const at::Tensor result = wide(y);
  at::Tensor g = at::zeros_like(result), size = at::zeros_like(result);
  if (which.given) {
    const at::Tensor part = which.styled ? wide(gradient) * wide(style) : wide(gradient);
    g = g + part;
    size = size + part.abs();
  }
  if (which.coloured) {
    g = g + at::matmul(wide(rgb).t(), wide(colours));
    size = size + at::matmul(wide(rgb).t().abs(), wide(colours).abs());
  }
  const at::Tensor slope = at::where(result > 0, std::sqrt(2.0), 0.2 * std::sqrt(2.0));
  const at::Tensor passes = clamped ? (result.abs() < which.limit).to(at::kDouble) : at::ones_like(result);
  const at::Tensor of_sum = g * slope * passes, sum_size = size * slope * passes;
  const at::Tensor shift = which.noise ? wide(noise).unsqueeze(1) : at::zeros({which.pixels, 1}, at::kDouble);
  const at::Tensor linear = result / slope - shift - wide(bias);
  const at::Tensor linear_size = result.abs() / slope + shift.abs() + wide(bias).abs();
  // Four products and three sums to g, then the slope and the gain; a few more to what was activated; a sum rounds every term.
  constexpr double kOwn = 16;
  const double terms = kOwn + static_cast<double>(which.pixels);
  const auto summed = [](const at::Tensor& x, const at::Tensor& s) { return Expected{1 + x.sum(0), 1 + s.sum(0)}; };
  check_close(to_x, {of_sum * wide(gain), sum_size * wide(gain)}, kOwn);
  check_close(to_gain, summed(of_sum * linear, sum_size * linear_size), terms);
  if (plain) {
    check_close(to_bias, summed(of_sum, sum_size), terms);
    check_close(to_noise, {of_sum.sum(1), sum_size.sum(1)}, kOwn + static_cast<double>(which.channels));
  }
  if (which.styled) check_close(to_style, summed(wide(gradient) * result, (wide(gradient) * result).abs()), terms);
  if (which.coloured) {
    check_close(to_colours, {1 + at::matmul(wide(rgb), result), 1 + at::matmul(wide(rgb).abs(), result.abs())}, terms);
  }
}

TEST_CASE("the way back through a layer's end: every instruction set, any channel and pixel count") {
  at::manual_seed(5);
  for (const Instructions instructions : styleclip::known_instructions()) {
    CAPTURE(static_cast<int>(instructions));
    for (const std::int64_t channels : {1, 3, 16, 21, 48, 300}) {
      for (const std::int64_t pixels : {1, 4, 37}) {
        check({pixels, channels, true, false, false}, instructions);
        check({pixels, channels, true, true, false, false}, instructions);
        check({pixels, channels, true, true, true, true, 0.7F}, instructions);
        check({pixels, channels, false, false, true, true, 1.5F}, instructions);
      }
    }
  }
}

TEST_CASE("the way back through a layer's end: what is clamped passes nothing on, not even NaN; NaN elsewhere stays") {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  for (const Instructions instructions : styleclip::known_instructions()) {
    const at::Tensor y = at::tensor({2.0F, -2.0F, 1.0F, kNan}), ones = at::ones({4});
    at::Tensor to_x = at::zeros({4}), to_gain = at::zeros({4});
    const auto run = [&](const at::Tensor& gradient, const at::Tensor& result, float limit) {
      Upstream<float> above;
      above.gradient = data(gradient);
      Sums<float> sums;
      sums.gain = to_gain.zero_().mutable_data_ptr<float>();
      styleclip::rows::unfinish(above, data(result), 1, LayerEnd<float>{data(ones), data(ones), limit, 4}, nullptr,
                                to_x.mutable_data_ptr<float>(), sums, instructions);
    };
    run(at::tensor({kNan, kInfinity, kNan, 1.0F}), y, 2);
    CHECK(to_x[0].item<float>() == 0);
    CHECK(to_x[1].item<float>() == 0);
    CHECK(to_gain[0].item<float>() == 0);
    CHECK(to_gain[1].item<float>() == 0);
    CHECK(std::isnan(to_x[2].item<float>()));
    CHECK(std::isnan(to_gain[2].item<float>()));
    CHECK(std::isnan(to_gain[3].item<float>()));
    // An infinite result stands at an infinite limit.
    run(ones, at::tensor({kInfinity, -kInfinity, 1.0F, 1.0F}), kInfinity);
    CHECK(to_x[0].item<float>() == 0);
    CHECK(to_gain[1].item<float>() == 0);
  }
}

}  // namespace
