// Pillow's 8-bit bicubic resize, bit for bit (the algorithm of Pillow's Resample.c, written anew): separable, the
// filter widened by the reduction factor, weights as 22-bit fixed point, the horizontal pass rounded and clipped to 8
// bits before the vertical one. CLIP's published features were made through it, so comparing with them needs the same
// roundings.
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/preprocess.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

// Keys' cubic with a = -0.5, support 2.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// For each output position: the first input it reads, and weights, zero where it reads no more.
struct Taps {
  std::vector<std::int32_t> first, weight;  // [out], [out, width]
  std::int64_t width = 0;
};

Taps make_taps(std::int64_t in, std::int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out), widen = std::max(scale, 1.0);
  const double support = 2 * widen;
  Taps taps;
  taps.width = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  taps.weight.assign(static_cast<std::size_t>(out * taps.width), 0);
  std::vector<double> weights(static_cast<std::size_t>(taps.width));
  for (std::int64_t o = 0; o < out; ++o) {
    const double centre = (static_cast<double>(o) + 0.5) * scale;
    // Pillow adds a half and truncates.
    const double low = centre - support + 0.5, high = centre + support + 0.5;
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(low), 0);
    const auto end = std::min(static_cast<std::int64_t>(high), in);
    double sum = 0;
    for (std::int64_t i = first; i < end; ++i) {
      weights[i - first] = cubic((static_cast<double>(i) - centre + 0.5) * (1 / widen));
      sum += weights[i - first];
    }
    for (std::int64_t i = 0; i < end - first; ++i) {
      const double value = (sum != 0 ? weights[i] / sum : weights[i]) * (1 << kResize8bitBits);
      taps.weight[o * taps.width + i] = static_cast<std::int32_t>(value < 0 ? value - 0.5 : value + 0.5);
    }
    taps.first.push_back(static_cast<std::int32_t>(first));
  }
  return taps;
}

// Along the middle axis of [outer, length, inner].
at::Tensor pass(const at::Tensor& pixels, std::int64_t out) {
  Taps taps = make_taps(pixels.size(1), out);
  const auto put = [&](std::vector<std::int32_t>& numbers, at::IntArrayRef shape) {
    return at::from_blob(numbers.data(), shape, at::TensorOptions().dtype(at::kInt)).to(pixels.device());
  };
  return resize_8bit(pixels, put(taps.first, {out}), put(taps.weight, {out, taps.width}));
}

}  // namespace

at::Tensor pillow_bicubic(const at::Tensor& pixels, std::int64_t out_height, std::int64_t out_width) {
  at::Tensor now = pixels.contiguous();
  const std::int64_t n = now.size(0), height = now.size(1), width = now.size(2), colours = now.size(3);
  if (width != out_width) now = pass(now.view({n * height, width, colours}), out_width);
  if (height != out_height) now = pass(now.view({n, height, out_width * colours}), out_height);
  return now.view({n, out_height, out_width, colours});
}

}  // namespace styleclip
