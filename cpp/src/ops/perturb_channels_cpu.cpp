// The fast CPU implementation of perturb_channels: a pixel's nine products are computed once for both signs, vectorised over
// the output channels. The rows of all pictures run in parallel.
#include <ATen/Parallel.h>

#include <vector>

#include "ops/perturb_channels.h"
#include "ops/rows_cpu.h"

namespace styleclip {
namespace {

// One image row of one channel: [pixels, channels] of each sign.
struct Row {
  const float* plane;  // of the row above's left neighbour
  std::int64_t width;  // of the plane
  const float* taps;   // [9, channels]
  const float* linear;
  const float* gain[2];
  float step[2];
  const float* noise;  // [pixels] or null
  const float* bias;
  float limit;
};

STYLECLIP_CLONED void perturb_row(const Row& row, std::int64_t pixels, std::int64_t channels, float* __restrict plus,
                                  float* __restrict minus) {
  const float* __restrict taps = row.taps;
  const float* __restrict bias = row.bias;
  const float* __restrict gain_plus = row.gain[0];
  const float* __restrict gain_minus = row.gain[1];
  const float step_plus = row.step[0], step_minus = row.step[1], limit = row.limit;
  const std::int64_t width = row.width;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float* q = row.plane + p;
    const float q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[width], q4 = q[width + 1], q5 = q[width + 2], q6 = q[2 * width],
                q7 = q[2 * width + 1], q8 = q[2 * width + 2];
    const float noise = row.noise == nullptr ? 0.0F : row.noise[p];
    const float* __restrict linear = row.linear + p * channels;
    float* __restrict y_plus = plus + p * channels;
    float* __restrict y_minus = minus + p * channels;
    for (std::int64_t o = 0; o < channels; ++o) {
      const float* t = taps + o;
      const float v = q0 * t[0] + q1 * t[channels] + q2 * t[2 * channels] + q3 * t[3 * channels] +
                      q4 * t[4 * channels] + q5 * t[5 * channels] + q6 * t[6 * channels] + q7 * t[7 * channels] +
                      q8 * t[8 * channels];
      const float offset = noise + bias[o];
      y_plus[o] = rows::activated(gain_plus[o] * (linear[o] + step_plus * v) + offset, limit);
      y_minus[o] = rows::activated(gain_minus[o] * (linear[o] + step_minus * v) + offset, limit);
    }
  }
}

}  // namespace

void perturb_channels_cpu(const at::Tensor& planes, const at::Tensor& taps, const at::Tensor& linear,
                          const at::Tensor& steps, const at::Tensor& gains, const at::Tensor& bias,
                          const at::Tensor& noise, double limit, at::Tensor& y) {
  check_perturb_channels(planes, taps, linear, steps, gains, bias, noise, limit, y);
  const at::Tensor plane_data = planes.contiguous(), tap_data = taps.contiguous(), linear_data = linear.contiguous(),
                   step_data = steps.contiguous(), gain_data = gains.contiguous(), bias_data = bias.contiguous(),
                   noise_data = noise.defined() ? noise.contiguous() : noise;
  const std::int64_t count = planes.size(0), channels = y.size(1), r = y.size(2);
  const float* plane = plane_data.const_data_ptr<float>();
  const float* tap = tap_data.const_data_ptr<float>();
  const float* base = linear_data.const_data_ptr<float>();
  const float* step = step_data.const_data_ptr<float>();
  const float* gain = gain_data.const_data_ptr<float>();
  const float* noises = noise.defined() ? noise_data.const_data_ptr<float>() : nullptr;
  const std::int64_t row_size = r * channels;
  rows::for_type(y.scalar_type(), [&]<typename T> {
    T* out = y.mutable_data_ptr<T>();
    at::parallel_for(0, count * r, rows::grain(row_size), [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> scratch(std::is_same_v<T, float> ? 0 : static_cast<std::size_t>(2 * row_size));
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t k = i / r, at = i % r;
        const Row row{plane + (k * (r + 2) + at) * (r + 2),
                      r + 2,
                      tap + k * 9 * channels,
                      base + at * row_size,
                      {gain + k * channels, gain + (count + k) * channels},
                      {step[k], step[count + k]},
                      noises == nullptr ? nullptr : noises + at * r,
                      bias_data.const_data_ptr<float>(),
                      static_cast<float>(limit)};
        T* plus = out + (k * r + at) * row_size;
        T* minus = plus + count * r * row_size;
        if constexpr (std::is_same_v<T, float>) {
          perturb_row(row, r, channels, plus, minus);
        } else {
          perturb_row(row, r, channels, scratch.data(), scratch.data() + row_size);
          rows::narrow(scratch.data(), row_size, plus);
          rows::narrow(scratch.data() + row_size, row_size, minus);
        }
      }
    });
  });
}

}  // namespace styleclip
