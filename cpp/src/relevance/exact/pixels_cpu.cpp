// See pixels_cpu.h. The inner loops run over channels, contiguous in memory, and allocate nothing.
#include "relevance/exact/pixels_cpu.h"

#include <algorithm>
#include <cstring>

// One body, three machines: AVX-512, AVX2 with FMA, and plain x86-64 (SSE2). Elsewhere the compiler's own target.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STYLECLIP_VECTORISED __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define STYLECLIP_VECTORISED
#endif

namespace styleclip::exact {
namespace {

constexpr float kSlope = 0.2F;

inline float activated(float x, float limit) {
  const float y = std::max(x, kSlope * x);
  return std::min(std::max(y, -limit), limit);
}

}  // namespace

STYLECLIP_VECTORISED void activate_pixels(float* __restrict y, std::int64_t pixels, std::int64_t channels,
                                          const Activation& activation) {
  const float* __restrict bias = activation.bias;
  const float limit = activation.limit;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float noise = activation.noise == nullptr ? 0.0F : activation.noise[p];
    float* __restrict row = y + p * channels;
    for (std::int64_t o = 0; o < channels; ++o) row[o] = activated(row[o] + (noise + bias[o]), limit);
  }
}

namespace {

struct Rgb {
  float red = 0, green = 0, blue = 0;
};

inline void put(float* rgb, std::int64_t pixels, std::int64_t p, const Rgb& sum, const float* bias, float limit) {
  rgb[p] = std::min(std::max(sum.red + bias[0], -limit), limit);
  rgb[pixels + p] = std::min(std::max(sum.green + bias[1], -limit), limit);
  rgb[2 * pixels + p] = std::min(std::max(sum.blue + bias[2], -limit), limit);
}

}  // namespace

STYLECLIP_VECTORISED void activate_to_rgb(float* __restrict y, std::int64_t pixels, std::int64_t channels,
                                          const Activation& activation, const float* __restrict weight,
                                          const float* __restrict rgb_bias, float* __restrict rgb, bool keep) {
  const float* __restrict bias = activation.bias;
  const float limit = activation.limit;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float noise = activation.noise == nullptr ? 0.0F : activation.noise[p];
    float* __restrict row = y + p * channels;
    float red = 0, green = 0, blue = 0;
    if (keep) {
#pragma omp simd reduction(+ : red, green, blue)
      for (std::int64_t o = 0; o < channels; ++o) {
        const float value = activated(row[o] + (noise + bias[o]), limit);
        row[o] = value;
        red += value * weight[o];
        green += value * weight[channels + o];
        blue += value * weight[2 * channels + o];
      }
    } else {
#pragma omp simd reduction(+ : red, green, blue)
      for (std::int64_t o = 0; o < channels; ++o) {
        const float value = activated(row[o] + (noise + bias[o]), limit);
        red += value * weight[o];
        green += value * weight[channels + o];
        blue += value * weight[2 * channels + o];
      }
    }
    put(rgb, pixels, p, {red, green, blue}, rgb_bias, limit);
  }
}

STYLECLIP_VECTORISED void pixels_to_rgb(const float* __restrict y, std::int64_t pixels, std::int64_t channels,
                                        const float* __restrict weight, const float* __restrict bias, float limit,
                                        float* __restrict rgb) {
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float* __restrict row = y + p * channels;
    float red = 0, green = 0, blue = 0;
#pragma omp simd reduction(+ : red, green, blue)
    for (std::int64_t o = 0; o < channels; ++o) {
      red += row[o] * weight[o];
      green += row[o] * weight[channels + o];
      blue += row[o] * weight[2 * channels + o];
    }
    put(rgb, pixels, p, {red, green, blue}, bias, limit);
  }
}

STYLECLIP_VECTORISED void perturb_pixels(const RankOne& change, std::int64_t side, std::int64_t channels,
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
      float* __restrict plus = change.y[0] + p * channels;
      float* __restrict minus = change.y[1] + p * channels;
      for (std::int64_t o = 0; o < channels; ++o) {
        const float* t = taps + o;
        const float v = q0 * t[0] + q1 * t[channels] + q2 * t[2 * channels] + q3 * t[3 * channels] +
                        q4 * t[4 * channels] + q5 * t[5 * channels] + q6 * t[6 * channels] + q7 * t[7 * channels] +
                        q8 * t[8 * channels];
        const float offset = noise + bias[o];
        plus[o] = activated(gain_plus[o] * (linear[o] + step_plus * v) + offset, limit);
        minus[o] = activated(gain_minus[o] * (linear[o] + step_minus * v) + offset, limit);
      }
    }
  }
}

namespace {

// One source row of products [side, 3 taps across, channels] (of one tap down; pixels `stride` apart) -> a line of
// 2 side pixels, summed over the taps across and filtered across.
// With g_b[j] the product of source pixel j and tap b, the transposed convolution is t[2j + b] += g_b[j], and the filter
// y[p] = Σ_k f[k] t[p + k - 1]; so
//   y[2j]     = f0 g1[j-1] + f1 (g0[j] + g2[j-1]) + f2 g1[j] + f3 (g0[j+1] + g2[j])
//   y[2j + 1] = f0 (g0[j] + g2[j-1]) + f1 g1[j] + f2 (g0[j+1] + g2[j]) + f3 g1[j+1]
STYLECLIP_VECTORISED void filter_across(const float* __restrict products, std::int64_t side, std::int64_t stride,
                                        std::int64_t channels, const float* __restrict f, float* __restrict line) {
  const float f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3];
  for (std::int64_t j = 0; j < side; ++j) {
    const float* here = products + j * stride;
    float* __restrict even = line + 2 * j * channels;
    float* __restrict odd = even + channels;
    const float before_on = j > 0 ? 1.0F : 0.0F, after_on = j + 1 < side ? 1.0F : 0.0F;
    const float* before = j > 0 ? here - stride : here;
    const float* after = j + 1 < side ? here + stride : here;
    for (std::int64_t o = 0; o < channels; ++o) {
      const float left = here[o] + before_on * before[2 * channels + o];  // t[2j]
      const float centre = here[channels + o];                            // t[2j + 1]
      const float right = after_on * after[o] + here[2 * channels + o];   // t[2j + 2]
      const float first = before_on * before[channels + o];               // t[2j - 1]
      const float last = after_on * after[channels + o];                  // t[2j + 3]
      even[o] = f0 * first + f1 * left + f2 * centre + f3 * right;
      odd[o] = f0 * left + f1 * centre + f2 * right + f3 * last;
    }
  }
}

// The same downwards, for two rows of the result at once: lines of three source rows, each [3 taps down, width, channels];
// null beyond the edges.
STYLECLIP_VECTORISED void filter_down(const float* __restrict before, const float* __restrict here,
                                      const float* __restrict after, std::int64_t width, std::int64_t channels,
                                      const float* __restrict f, const Activation& activation, std::int64_t row,
                                      float* __restrict y) {
  const float f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3], limit = activation.limit;
  const float before_on = before != nullptr ? 1.0F : 0.0F, after_on = after != nullptr ? 1.0F : 0.0F;
  const float* __restrict above = before != nullptr ? before : here;
  const float* __restrict below = after != nullptr ? after : here;
  const float* __restrict bias = activation.bias;
  const std::int64_t plane = width * channels;
  for (std::int64_t x = 0; x < width; ++x) {
    const float noise_even = activation.noise == nullptr ? 0.0F : activation.noise[2 * row * width + x];
    const float noise_odd = activation.noise == nullptr ? 0.0F : activation.noise[(2 * row + 1) * width + x];
    float* __restrict even = y + (2 * row * width + x) * channels;
    float* __restrict odd = y + ((2 * row + 1) * width + x) * channels;
    const std::int64_t at = x * channels;
    for (std::int64_t o = 0; o < channels; ++o) {
      const std::int64_t i = at + o;
      const float top = here[i] + before_on * above[2 * plane + i];
      const float centre = here[plane + i];
      const float bottom = after_on * below[i] + here[2 * plane + i];
      const float first = before_on * above[plane + i];
      const float last = after_on * below[plane + i];
      even[o] = activated(f0 * first + f1 * top + f2 * centre + f3 * bottom + (noise_even + bias[o]), limit);
      odd[o] = activated(f0 * top + f1 * centre + f2 * bottom + f3 * last + (noise_odd + bias[o]), limit);
    }
  }
}

}  // namespace

UpSampler::UpSampler(std::int64_t side, std::int64_t channels, const float* filter, const Activation& activation,
                     float* scratch, float* y)
    : side_(side), channels_(channels), filter_(filter), activation_(activation), scratch_(scratch), y_(y) {}

std::int64_t UpSampler::scratch_size(std::int64_t side, std::int64_t channels) { return 3 * 3 * 2 * side * channels; }

float* UpSampler::lines(std::int64_t source_row) const {
  return scratch_ + (source_row % 3) * 3 * 2 * side_ * channels_;
}

void UpSampler::write_rows(std::int64_t source_row) {
  filter_down(source_row > 0 ? lines(source_row - 1) : nullptr, lines(source_row),
              source_row + 1 < side_ ? lines(source_row + 1) : nullptr, 2 * side_, channels_, filter_, activation_,
              source_row, y_);
}

void UpSampler::add_rows(const float* products, std::int64_t rows) {
  for (std::int64_t i = 0; i < rows; ++i, ++done_) {
    for (std::int64_t tap = 0; tap < 3; ++tap) {
      filter_across(products + (i * side_ * 9 + tap * 3) * channels_, side_, 9 * channels_, channels_, filter_,
                    lines(done_) + tap * 2 * side_ * channels_);
    }
    if (done_ > 0) write_rows(done_ - 1);
  }
}

void UpSampler::finish() { write_rows(side_ - 1); }

}  // namespace styleclip::exact
