// Pillow's 8-bit bicubic resize, bit for bit (the algorithm of Pillow's Resample.c, written anew): separable, the
// filter widened by the reduction factor, weights as 22-bit fixed point, the horizontal pass rounded and clipped to 8
// bits before the vertical one. CLIP's published features were made through it, so comparing with them needs the same
// roundings.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/preprocess.h"

namespace styleclip {
namespace {

constexpr int kBits = 22;  // 32 bits, less 8 of the pixel, less 2 of headroom for negative lobes

// Keys' cubic with a = -0.5, support 2.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// For each output position: the first input it reads, how many, and their weights.
struct Taps {
  std::vector<std::int64_t> first, count;
  std::vector<std::int32_t> weight;  // [out, width]
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
      const double value = (sum != 0 ? weights[i] / sum : weights[i]) * (1 << kBits);
      taps.weight[o * taps.width + i] = static_cast<std::int32_t>(value < 0 ? value - 0.5 : value + 0.5);
    }
    taps.first.push_back(first);
    taps.count.push_back(end - first);
  }
  return taps;
}

std::uint8_t round_clip(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

// Filters along one axis of [outer, length, inner], three colours a pixel being part of `inner`.
void pass(const std::uint8_t* in, std::uint8_t* out, const Taps& taps, std::int64_t outer, std::int64_t in_length,
          std::int64_t inner) {
  const auto out_length = static_cast<std::int64_t>(taps.first.size());
  at::parallel_for(0, outer, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> sums(static_cast<std::size_t>(inner));
    for (std::int64_t line = begin; line < end; ++line) {
      for (std::int64_t o = 0; o < out_length; ++o) {
        std::fill(sums.begin(), sums.end(), 1 << (kBits - 1));
        const std::uint8_t* from = in + (line * in_length + taps.first[o]) * inner;
        for (std::int64_t t = 0; t < taps.count[o]; ++t, from += inner) {
          const std::int32_t weight = taps.weight[o * taps.width + t];
          for (std::int64_t i = 0; i < inner; ++i) sums[i] += from[i] * weight;
        }
        std::uint8_t* to = out + (line * out_length + o) * inner;
        for (std::int64_t i = 0; i < inner; ++i) to[i] = round_clip(sums[i]);
      }
    }
  });
}

}  // namespace

at::Tensor pillow_bicubic(const at::Tensor& pixels, std::int64_t out_height, std::int64_t out_width) {
  at::Tensor now = pixels.contiguous();
  const std::int64_t n = now.size(0), height = now.size(1), width = now.size(2), colours = now.size(3);
  if (width != out_width) {
    at::Tensor next = at::empty({n, height, out_width, colours}, at::kByte);
    pass(now.data_ptr<std::uint8_t>(), next.data_ptr<std::uint8_t>(), make_taps(width, out_width), n * height, width,
         colours);
    now = next;
  }
  if (height != out_height) {
    at::Tensor next = at::empty({n, out_height, out_width, colours}, at::kByte);
    pass(now.data_ptr<std::uint8_t>(), next.data_ptr<std::uint8_t>(), make_taps(height, out_height), n, height,
         out_width * colours);
    now = next;
  }
  return now;
}

}  // namespace styleclip
