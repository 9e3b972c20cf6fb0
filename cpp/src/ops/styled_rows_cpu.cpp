// See styled_rows_cpu.h: loops that the compiler vectorises for several instruction sets.
#include "ops/styled_rows_cpu.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>

#include "ops/filter_rows_cpu.h"

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

// to = Σ_k weights[k] from[k], of `count` numbers. A row that is null counts as zeros.
template <typename A>
STYLECLIP_INLINE void mix_body(const A* const (&from)[kTaps], const A* weights, std::int64_t count, A* __restrict to) {
  const A w0 = weights[0], w1 = weights[1], w2 = weights[2], w3 = weights[3];
  const A* __restrict a = from[0];
  const A* __restrict b = from[1];
  const A* __restrict c = from[2];
  const A* __restrict d = from[3];
  if (a != nullptr && b != nullptr && c != nullptr && d != nullptr) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = w0 * a[i] + w1 * b[i] + w2 * c[i] + w3 * d[i];
    return;
  }
  std::fill(to, to + count, A{0});
  for (std::int64_t tap = 0; tap < kTaps; ++tap) {
    const A* __restrict row = from[tap];
    if (row == nullptr) continue;
    const A weight = weights[tap];
    for (std::int64_t i = 0; i < count; ++i) to[i] += weight * row[i];
  }
}

// What of Upstream and Sums there is.
enum class Kind { Every, Gradient, Style, StyleAndColours, Colours };

#define STYLECLIP_LOOPS "ops/styled_rows_lanes.h"
#include "ops/each_instruction_set.h"

template <Kind kind, typename A>
void unfinish_kind(const Upstream<A>& above, const A* y, std::int64_t pixels, const LayerEnd<A>& end, const A* noise,
                   A* to_x, const Sums<A>& sums, Instructions instructions) {
#ifdef STYLECLIP_INSTRUCTION_SETS
  if (instructions == Instructions::Avx512 || instructions == Instructions::Avx512Bf16) {
    return avx512::unfinish<kind>(above, y, pixels, end, noise, to_x, sums);
  }
  if (instructions == Instructions::Avx2) return avx2::unfinish<kind>(above, y, pixels, end, noise, to_x, sums);
#endif
  plain::unfinish<kind>(above, y, pixels, end, noise, to_x, sums);
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
STYLECLIP_CLONED void mix(const float* const (&from)[kTaps], const float* weights, std::int64_t count, float* to) {
  mix_body(from, weights, count, to);
}
STYLECLIP_CLONED void mix(const double* const (&from)[kTaps], const double* weights, std::int64_t count, double* to) {
  mix_body(from, weights, count, to);
}

void unfinish(const Upstream<float>& above, const float* y, std::int64_t pixels, const LayerEnd<float>& end,
              const float* noise, float* to_x, const Sums<float>& sums, Instructions instructions) {
  const auto run = [&]<Kind kind> { unfinish_kind<kind>(above, y, pixels, end, noise, to_x, sums, instructions); };
  if (above.gradient == nullptr) {
    run.template operator()<Kind::Colours>();
  } else if (above.colours != nullptr) {
    run.template operator()<Kind::StyleAndColours>();
  } else if (above.style != nullptr) {
    run.template operator()<Kind::Style>();
  } else if (sums.bias != nullptr || sums.noise != nullptr) {
    run.template operator()<Kind::Every>();
  } else {
    run.template operator()<Kind::Gradient>();
  }
}
void unfinish(const Upstream<float>& above, const float* y, std::int64_t pixels, const LayerEnd<float>& end,
              const float* noise, float* to_x, const Sums<float>& sums) {
  unfinish(above, y, pixels, end, noise, to_x, sums, widest_instructions());
}
void unfinish(const Upstream<double>& above, const double* y, std::int64_t pixels, const LayerEnd<double>& end,
              const double* noise, double* to_x, const Sums<double>& sums) {
  unfinish_kind<Kind::Every>(above, y, pixels, end, noise, to_x, sums, widest_instructions());
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
