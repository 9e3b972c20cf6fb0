// See styled_rows_cpu.h: loops that the compiler vectorises for several instruction sets.
#include "ops/styled_rows_cpu.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace styleclip::rows {
namespace {

template <typename A>
STYLECLIP_INLINE void finish_body(const A* x, std::int64_t pixels, const LayerEnd<A>& end, const A* noise, A* y) {
  constexpr A kGain = std::numbers::sqrt2_v<A>;
  const A* __restrict gain = end.gain;
  const A* __restrict bias = end.bias;
  const std::int64_t channels = end.channels;
  const A limit = end.limit;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const A shift = noise == nullptr ? A{0} : noise[p];
    const A* from = x + p * channels;
    A* to = y + p * channels;
#pragma GCC ivdep
    for (std::int64_t o = 0; o < channels; ++o) {
      const A sum = gain[o] * from[o] + (shift + bias[o]);
      const A value = kGain * std::max(sum, A{0.2} * sum);
      to[o] = std::min(std::max(value, -limit), limit);
    }
  }
}

constexpr std::int64_t kLanes = 16;

// Of `lanes` neighbouring channels from `first` on, whose sums over the pixels stay in registers. A constant number of lanes
// is what the compiler unrolls into vectors.
template <typename A>
STYLECLIP_INLINE void unfinish_lanes(std::int64_t first, std::int64_t lanes, const A* __restrict gradient,
                                     const A* __restrict y, std::int64_t pixels, const LayerEnd<A>& end,
                                     const A* __restrict noise, A* __restrict to_x, const Sums<A>& sums) {
  constexpr A kAbove = std::numbers::sqrt2_v<A>, kBelow = A{0.2} * std::numbers::sqrt2_v<A>;
  A gain[kLanes], bias[kLanes], to_gain[kLanes] = {}, to_bias[kLanes] = {};
  for (std::int64_t l = 0; l < lanes; ++l) {
    gain[l] = end.gain[first + l];
    bias[l] = end.bias[first + l];
  }
  const A limit = end.limit;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const A shift = noise == nullptr ? A{0} : noise[p];
    const A* __restrict from = gradient + p * end.channels + first;
    const A* __restrict result = y + p * end.channels + first;
    A* __restrict to = to_x + p * end.channels + first;
    A sum[kLanes];  // the gradient to the activated sum
    for (std::int64_t l = 0; l < lanes; ++l) {
      const bool above = result[l] > 0, cut = std::abs(result[l]) >= limit;
      const A passed = from[l] * (above ? kAbove : kBelow);
      sum[l] = cut ? A{0} : passed;
      const A product = sum[l] * (result[l] * (above ? 1 / kAbove : 1 / kBelow) - (shift + bias[l]));
      to_gain[l] += cut ? A{0} : product;
      to_bias[l] += sum[l];
      to[l] = sum[l] * gain[l];
    }
    if (sums.noise != nullptr) {
      A of_pixel = 0;
      for (std::int64_t l = 0; l < lanes; ++l) of_pixel += sum[l];
      sums.noise[p] += of_pixel;
    }
  }
  for (std::int64_t l = 0; l < lanes; ++l) {
    if (sums.gain != nullptr) sums.gain[first + l] += to_gain[l];
    if (sums.bias != nullptr) sums.bias[first + l] += to_bias[l];
  }
}

template <typename A>
STYLECLIP_INLINE void unfinish_body(const A* gradient, const A* y, std::int64_t pixels, const LayerEnd<A>& end,
                                    const A* noise, A* to_x, const Sums<A>& sums) {
  if (sums.noise != nullptr) std::fill_n(sums.noise, pixels, A{0});
  std::int64_t first = 0;
  for (; first + kLanes <= end.channels; first += kLanes) {
    unfinish_lanes(first, kLanes, gradient, y, pixels, end, noise, to_x, sums);
  }
  if (first < end.channels) unfinish_lanes(first, end.channels - first, gradient, y, pixels, end, noise, to_x, sums);
}

}  // namespace

STYLECLIP_CLONED void finish(const float* x, std::int64_t pixels, const LayerEnd<float>& end, const float* noise,
                             float* y) {
  finish_body(x, pixels, end, noise, y);
}
STYLECLIP_CLONED void finish(const double* x, std::int64_t pixels, const LayerEnd<double>& end, const double* noise,
                             double* y) {
  finish_body(x, pixels, end, noise, y);
}
STYLECLIP_CLONED void unfinish(const float* gradient, const float* y, std::int64_t pixels, const LayerEnd<float>& end,
                               const float* noise, float* to_x, const Sums<float>& sums) {
  unfinish_body(gradient, y, pixels, end, noise, to_x, sums);
}
STYLECLIP_CLONED void unfinish(const double* gradient, const double* y, std::int64_t pixels,
                               const LayerEnd<double>& end, const double* noise, double* to_x,
                               const Sums<double>& sums) {
  unfinish_body(gradient, y, pixels, end, noise, to_x, sums);
}

BlockSums::BlockSums(const at::Tensor& y, const at::Tensor& bias, Wanted wanted, std::int64_t blocks)
    : channels_(y.size(1)), h_(y.size(2)), w_(y.size(3)), blocks_(blocks) {
  const at::TensorOptions options = at::TensorOptions().dtype(bias.scalar_type());
  if (wanted[1]) gain_ = at::zeros({y.size(0), blocks, channels_}, options);
  if (wanted[2]) bias_ = at::zeros({y.size(0), blocks, channels_}, options);
  if (wanted[3]) noise_ = at::empty({y.size(0), h_, w_}, options);
}

void BlockSums::gradients(const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                          Gradients& all) const {
  if (gain_.defined()) {
    std::get<1>(all) = gain_gradient(gain_.sum(at::IntArrayRef{1}, false, at::kDouble), gain);
  }
  if (bias_.defined()) {
    std::get<2>(all) = bias_.sum(at::IntArrayRef{0, 1}, false, at::kDouble).to(bias.scalar_type());
  }
  if (noise_.defined()) {
    std::get<3>(all) =
        noise.dim() == 3 ? noise_ : noise_.sum(at::IntArrayRef{0}, false, at::kDouble).to(noise.scalar_type());
  }
}

}  // namespace styleclip::rows
