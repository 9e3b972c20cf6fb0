// Loops over the pixels of channels-last activations: what stands between the convolutions of the exact sweep, on a CPU.
// One pass each, vectorised over the channels, in float32, bfloat16 or float16 with float32 arithmetic.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>

namespace styleclip {

/// clamp(leaky_relu(x + noise + bias, 0.2), ±limit).
struct Activation {
  const float* noise = nullptr;  // [pixels], or none
  const float* bias = nullptr;   // [channels]
  float limit = 0;               // infinity for none
};

/// rgb = clamp(weight y + bias, ±limit).
struct ToColours {
  const float* weight = nullptr;  // [3, channels]
  const float* bias = nullptr;    // [3]
  float limit = 0;
};

/// A 3x3 convolution of one plane for both values of its style channel, as a change of the base's linear part:
///   v[p, o] = Σ_t taps[t, o] plane[p + t],  y±[p, o] = activation(gain±[o] (linear[p, o] + step± v[p, o]))
template <typename T>
struct RankOne {
  const float* plane = nullptr;   // [side + 2, side + 2]
  const float* taps = nullptr;    // [9, channels]
  const float* linear = nullptr;  // [side * side, channels]
  float step[2] = {0, 0};
  const float* gain[2] = {nullptr, nullptr};  // [channels]
  T* y[2] = {nullptr, nullptr};               // [side * side, channels]
};

// One overload a number type.
#define STYLECLIP_PIXEL_LOOPS(T)                                                                                       \
  /** y [pixels, channels] in place. */                                                                               \
  void activate_pixels(T* y, std::int64_t pixels, std::int64_t channels, const Activation& activation);              \
  /** The same, and rgb [3, pixels]. With `keep` false y is left as it was. */                                        \
  void activate_to_rgb(T* y, std::int64_t pixels, std::int64_t channels, const Activation& activation,               \
                       const ToColours& colours, float* rgb, bool keep);                                             \
  /** rgb [3, pixels] of activations as they are. */                                                                  \
  void pixels_to_rgb(const T* y, std::int64_t pixels, std::int64_t channels, const ToColours& colours, float* rgb);  \
  void perturb_pixels(const RankOne<T>& change, std::int64_t side, std::int64_t channels,                            \
                      const Activation& activation);
STYLECLIP_PIXEL_LOOPS(float)
STYLECLIP_PIXEL_LOOPS(c10::BFloat16)
STYLECLIP_PIXEL_LOOPS(c10::Half)
#undef STYLECLIP_PIXEL_LOOPS

}  // namespace styleclip
