// See pixel_loops_cpu.h. The inner loops run over channels, contiguous in memory, and allocate nothing.
#include "ops/pixel_loops_cpu.h"

#include "ops/numbers_cpu.h"

namespace styleclip {
namespace {

template <typename T>
STYLECLIP_INLINE void activate_body(T* __restrict y, std::int64_t pixels, std::int64_t channels,
                                    const Activation& activation) {
  const float* __restrict bias = activation.bias;
  const float limit = activation.limit;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float noise = activation.noise == nullptr ? 0.0F : activation.noise[p];
    T* __restrict row = y + p * channels;
    for (std::int64_t o = 0; o < channels; ++o) {
      row[o] = from_float<T>(activated(to_float(row[o]) + (noise + bias[o]), limit));
    }
  }
}

STYLECLIP_INLINE void put(float* __restrict rgb, std::int64_t pixels, std::int64_t p, float red, float green,
                          float blue, const ToColours& colours) {
  const float limit = colours.limit;
  rgb[p] = std::min(std::max(red + colours.bias[0], -limit), limit);
  rgb[pixels + p] = std::min(std::max(green + colours.bias[1], -limit), limit);
  rgb[2 * pixels + p] = std::min(std::max(blue + colours.bias[2], -limit), limit);
}

// Activate: noise, bias, leaky ReLU before the colours. Keep: the result is stored too.
template <typename T, bool Activate, bool Keep>
STYLECLIP_INLINE void to_rgb_body(T* __restrict y, std::int64_t pixels, std::int64_t channels,
                                  const Activation& activation, const ToColours& colours, float* __restrict rgb) {
  const float* __restrict bias = activation.bias;
  const float* __restrict weight = colours.weight;
  const float limit = activation.limit;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float noise = activation.noise == nullptr ? 0.0F : activation.noise[p];
    T* __restrict row = y + p * channels;
    float red = 0, green = 0, blue = 0;
#pragma omp simd reduction(+ : red, green, blue)
    for (std::int64_t o = 0; o < channels; ++o) {
      float value = to_float(row[o]);
      if constexpr (Activate) value = activated(value + (noise + bias[o]), limit);
      if constexpr (Keep) row[o] = from_float<T>(value);
      red += value * weight[o];
      green += value * weight[channels + o];
      blue += value * weight[2 * channels + o];
    }
    put(rgb, pixels, p, red, green, blue, colours);
  }
}

template <typename T>
STYLECLIP_INLINE void perturb_body(const RankOne<T>& change, std::int64_t side, std::int64_t channels,
                                   const Activation& activation) {
  const float* __restrict taps = change.taps;
  const float* __restrict bias = activation.bias;
  const float* __restrict gain_plus = change.gain[0];
  const float* __restrict gain_minus = change.gain[1];
  const float step_plus = change.step[0], step_minus = change.step[1], limit = activation.limit;
  const std::int64_t width = side + 2;
  for (std::int64_t row = 0; row < side; ++row) {
    for (std::int64_t column = 0; column < side; ++column) {
      const std::int64_t p = row * side + column;
      const float* q = change.plane + row * width + column;
      const float q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[width], q4 = q[width + 1], q5 = q[width + 2],
                  q6 = q[2 * width], q7 = q[2 * width + 1], q8 = q[2 * width + 2];
      const float noise = activation.noise == nullptr ? 0.0F : activation.noise[p];
      const float* __restrict linear = change.linear + p * channels;
      T* __restrict plus = change.y[0] + p * channels;
      T* __restrict minus = change.y[1] + p * channels;
      for (std::int64_t o = 0; o < channels; ++o) {
        const float* t = taps + o;
        const float v = q0 * t[0] + q1 * t[channels] + q2 * t[2 * channels] + q3 * t[3 * channels] +
                        q4 * t[4 * channels] + q5 * t[5 * channels] + q6 * t[6 * channels] + q7 * t[7 * channels] +
                        q8 * t[8 * channels];
        const float offset = noise + bias[o];
        plus[o] = from_float<T>(activated(gain_plus[o] * (linear[o] + step_plus * v) + offset, limit));
        minus[o] = from_float<T>(activated(gain_minus[o] * (linear[o] + step_minus * v) + offset, limit));
      }
    }
  }
}

}  // namespace

#define STYLECLIP_PIXEL_LOOPS(T)                                                                                      \
  STYLECLIP_VECTORISED void activate_pixels(T* y, std::int64_t pixels, std::int64_t channels,                         \
                                            const Activation& activation) {                                          \
    activate_body<T>(y, pixels, channels, activation);                                                               \
  }                                                                                                                   \
  STYLECLIP_VECTORISED void activate_to_rgb(T* y, std::int64_t pixels, std::int64_t channels,                         \
                                            const Activation& activation, const ToColours& colours, float* rgb,      \
                                            bool keep) {                                                             \
    if (keep) {                                                                                                       \
      to_rgb_body<T, true, true>(y, pixels, channels, activation, colours, rgb);                                      \
    } else {                                                                                                          \
      to_rgb_body<T, true, false>(y, pixels, channels, activation, colours, rgb);                                     \
    }                                                                                                                 \
  }                                                                                                                   \
  STYLECLIP_VECTORISED void pixels_to_rgb(const T* y, std::int64_t pixels, std::int64_t channels,                     \
                                          const ToColours& colours, float* rgb) {                                     \
    to_rgb_body<T, false, false>(const_cast<T*>(y), pixels, channels, {}, colours, rgb);                              \
  }                                                                                                                   \
  STYLECLIP_VECTORISED void perturb_pixels(const RankOne<T>& change, std::int64_t side, std::int64_t channels,        \
                                           const Activation& activation) {                                           \
    perturb_body<T>(change, side, channels, activation);                                                             \
  }
STYLECLIP_PIXEL_LOOPS(float)
STYLECLIP_PIXEL_LOOPS(c10::BFloat16)
STYLECLIP_PIXEL_LOOPS(c10::Half)
#undef STYLECLIP_PIXEL_LOOPS

}  // namespace styleclip
