// The fast CPU implementation of activate: one pass in place, vectorised over the channels, image rows in parallel.
#include "ops/activate.h"

#include <ATen/Parallel.h>

#include <vector>

#include "ops/rows_cpu.h"

namespace styleclip {
namespace {

STYLECLIP_CLONED void activate_row(float* __restrict y, std::int64_t pixels, std::int64_t channels, const float* noise,
                                   const float* __restrict bias, float limit) {
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float shift = noise == nullptr ? 0.0F : noise[p];
    float* __restrict at = y + p * channels;
    for (std::int64_t o = 0; o < channels; ++o) at[o] = rows::activated(at[o] + (shift + bias[o]), limit);
  }
}

}  // namespace

void activate_cpu(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit) {
  check_activate(y, bias, noise, limit);
  const at::Tensor bias_data = bias.contiguous(), noise_data = noise.defined() ? noise.contiguous() : noise;
  const float* noises = noise.defined() ? noise_data.const_data_ptr<float>() : nullptr;
  const float* shifts = bias_data.const_data_ptr<float>();
  const std::int64_t channels = y.size(1), r = y.size(2), row_size = r * channels;
  rows::for_type(y.scalar_type(), [&]<typename T> {
    T* data = y.mutable_data_ptr<T>();
    at::parallel_for(0, y.size(0) * r, rows::grain(row_size), [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> scratch(std::is_same_v<T, float> ? 0 : static_cast<std::size_t>(row_size));
      for (std::int64_t i = begin; i < end; ++i) {
        const float* noise_row = noises == nullptr ? nullptr : noises + (i % r) * r;
        T* row = data + i * row_size;
        if constexpr (std::is_same_v<T, float>) {
          activate_row(row, r, channels, noise_row, shifts, static_cast<float>(limit));
        } else {
          rows::widen(row, row_size, scratch.data());
          activate_row(scratch.data(), r, channels, noise_row, shifts, static_cast<float>(limit));
          rows::narrow(scratch.data(), row_size, row);
        }
      }
    });
  });
}

}  // namespace styleclip
