// Loops over the pixels of channels-last float32 activations: what stands between the matrix products of the exact sweep.
// One pass each, vectorised over the channels, compiled for several instruction sets and chosen when the library loads.
#pragma once

#include <cstdint>

namespace styleclip::exact {

/// leaky_relu(x, 0.2), then a clamp to [-limit, limit]; limit is infinite for none.
struct Activation {
  const float* noise = nullptr;  // [pixels], or none
  const float* bias = nullptr;   // [channels]
  float limit = 0;
};

/// y [pixels, channels] in place: activation(y + noise + bias).
void activate_pixels(float* y, std::int64_t pixels, std::int64_t channels, const Activation& activation);

/// The same, and rgb [3, pixels] = weight [3, channels] y + bias [3], clamped. With `keep` false y is left as it was.
void activate_to_rgb(float* y, std::int64_t pixels, std::int64_t channels, const Activation& activation,
                     const float* weight, const float* bias, float* rgb, bool keep);

/// rgb [3, pixels] of activations y [pixels, channels] as they are.
void pixels_to_rgb(const float* y, std::int64_t pixels, std::int64_t channels, const float* weight, const float* bias,
                   float limit, float* rgb);

/// A 3x3 convolution of one plane for both values of its style channel, as a change of the base's linear part:
///   v[p, o] = Σ_t taps[t, o] plane[p + t],  y±[p, o] = activation(gain±[o] (linear[p, o] + step± v[p, o]))
struct RankOne {
  const float* plane = nullptr;   // [side + 2, side + 2]
  const float* taps = nullptr;    // [9, channels]
  const float* linear = nullptr;  // [side * side, channels]
  float step[2] = {0, 0};
  const float* gain[2] = {nullptr, nullptr};  // [channels]
  float* y[2] = {nullptr, nullptr};           // [side * side, channels]
};
void perturb_pixels(const RankOne& change, std::int64_t side, std::int64_t channels, const Activation& activation);

/// What a transposed convolution of stride 2 becomes after a matrix product: products [rows, side, 3, 3, channels] of each
/// source pixel with each tap are summed to (2 side + 1)², run through the separable filter [4] (pads 1) and activated:
/// y [2 side, 2 side, channels]. Rows come strip by strip, in order; `strip` holds the first row's number and how many.
class UpSampler {
 public:
  UpSampler(std::int64_t side, std::int64_t channels, const float* filter, const Activation& activation, float* scratch,
            float* y);
  /// Floats of scratch.
  static std::int64_t scratch_size(std::int64_t side, std::int64_t channels);
  void add_rows(const float* products, std::int64_t rows);
  void finish();

 private:
  void write_rows(std::int64_t source_row);
  float* lines(std::int64_t source_row) const;

  std::int64_t side_, channels_, done_ = 0;
  const float* filter_;
  Activation activation_;
  float* scratch_;  // three source rows, each [3, 2 side, channels]: summed over the columns
  float* y_;
};

}  // namespace styleclip::exact
