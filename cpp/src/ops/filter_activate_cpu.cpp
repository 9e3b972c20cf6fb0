// The fast CPU implementation of filter_activate: for every row of the result, four rows of t are filtered downwards into a
// line that stays in the cache, and the line across. Vectorised over the channels; rows of all pictures in parallel.
#include "ops/filter_activate.h"

#include <ATen/Parallel.h>

#include <vector>

#include "ops/rows_cpu.h"

namespace styleclip {
namespace {

// line += weight row
STYLECLIP_CLONED void add_row(const float* __restrict row, float weight, std::int64_t count, float* __restrict line) {
  for (std::int64_t i = 0; i < count; ++i) line[i] += weight * row[i];
}

// line [1 + (r + 1) + 1, channels], the outer pixels zero: pixel p of the result begins at pixel p of the line.
STYLECLIP_CLONED void filter_across(const float* __restrict line, std::int64_t r, std::int64_t channels,
                                    const float* __restrict filter, const float* noise, const float* __restrict bias,
                                    float limit, float* __restrict y) {
  const float f0 = filter[0], f1 = filter[1], f2 = filter[2], f3 = filter[3];
  for (std::int64_t p = 0; p < r; ++p) {
    const float shift = noise == nullptr ? 0.0F : noise[p];
    const float* __restrict from = line + p * channels;
    float* __restrict to = y + p * channels;
    for (std::int64_t o = 0; o < channels; ++o) {
      const float sum =
          f0 * from[o] + f1 * from[channels + o] + f2 * from[2 * channels + o] + f3 * from[3 * channels + o];
      to[o] = rows::activated(sum + (shift + bias[o]), limit);
    }
  }
}

}  // namespace

void filter_activate_cpu(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& bias, const at::Tensor& noise,
                         double limit, at::Tensor& y) {
  check_filter_activate(t, filter, bias, noise, limit, y);
  const at::Tensor filter_data = filter.contiguous(), bias_data = bias.contiguous(),
                   noise_data = noise.defined() ? noise.contiguous() : noise;
  const float* taps = filter_data.const_data_ptr<float>();
  const float* shifts = bias_data.const_data_ptr<float>();
  const float* noises = noise.defined() ? noise_data.const_data_ptr<float>() : nullptr;
  const std::int64_t channels = y.size(1), r = y.size(2), source = r + 1;
  const std::int64_t row_size = r * channels, source_size = source * channels;
  rows::for_type(y.scalar_type(), [&]<typename T> {
    constexpr bool kConverts = !std::is_same_v<T, float>;
    const T* from = t.const_data_ptr<T>();
    T* to = y.mutable_data_ptr<T>();
    at::parallel_for(0, y.size(0) * r, rows::grain(row_size), [&](std::int64_t begin, std::int64_t end) {
      // The line: a pixel of zeros, r + 1 pixels, another of zeros.
      std::vector<float> line(static_cast<std::size_t>(source_size + 2 * channels));
      std::vector<float> wide(kConverts ? static_cast<std::size_t>(source_size) : 0);
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t n = i / r, at = i % r;
        std::fill(line.begin(), line.end(), 0.0F);
        for (std::int64_t tap = 0; tap < 4; ++tap) {
          const std::int64_t row = at + tap - 1;
          if (row < 0 || row >= source) continue;
          const T* data = from + (n * source + row) * source_size;
          if constexpr (kConverts) {
            rows::widen(data, source_size, wide.data());
            add_row(wide.data(), taps[tap], source_size, line.data() + channels);
          } else {
            add_row(data, taps[tap], source_size, line.data() + channels);
          }
        }
        const float* noise_row = noises == nullptr ? nullptr : noises + at * r;
        T* result = to + i * row_size;
        if constexpr (kConverts) {
          filter_across(line.data(), r, channels, taps, noise_row, shifts, static_cast<float>(limit), wide.data());
          rows::narrow(wide.data(), row_size, result);
        } else {
          filter_across(line.data(), r, channels, taps, noise_row, shifts, static_cast<float>(limit), result);
        }
      }
    });
  });
}

}  // namespace styleclip
