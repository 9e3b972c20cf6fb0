// StyleGAN2's synthesis network as numbers, read off a loaded generator under rosinality's names: what the exact sweep
// folds, perturbs and runs by itself, layer by layer, instead of calling the archive's code.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "styleclip/models.h"

namespace styleclip::exact {

/// A modulated 3x3 convolution with demodulation, noise, bias and leaky ReLU (StyleGAN2, arXiv 1912.04958, section 2):
///   u = conv(W, s x), followed by the FIR filter on an up layer;  σ²[o] = Σ_i s_i² power[o, i] + epsilon
///   y = clamp(√2 leaky_relu(u / σ + noise + bias, 0.2))
struct Conv {
  std::int64_t layer = 0;  // index in the StyleLayout
  std::int64_t inputs = 0, outputs = 0;
  std::int64_t resolution = 0;  // of the output; the input of an up layer has half of it
  bool up = false;
  at::Tensor weight;    // [outputs, inputs, 3, 3] float32, to be multiplied by the scale
  double scale = 1;     // 1 where 1/√(9 inputs) is multiplied in
  at::Tensor power;     // [outputs, inputs]: Σ over the taps of weight²
  at::Tensor bias;      // [outputs]
  at::Tensor noise;     // [resolution, resolution]: the stored map, strength multiplied in; undefined where it is zero
  double strength = 0;  // of the noise
  at::Tensor
      filter;  // [4]: the FIR filter is outer(filter, filter), as applied (flipped), gain of two; undefined if !up
  double epsilon = 1e-8;
};

/// A modulated 1x1 convolution to RGB, without demodulation: rgb = clamp(W (s x) + bias), added to the picture so far,
/// which is up-sampled by two through a FIR filter.
struct ToRgb {
  std::int64_t layer = 0;
  std::int64_t inputs = 0, resolution = 0;
  at::Tensor weight;  // [3, inputs] float32, 1/√inputs multiplied in
  at::Tensor bias;    // [3]
  at::Tensor filter;  // [4]: outer(filter, filter) up-samples the picture so far, gain of two; undefined at 4x4
};

/// The layers in the order of synthesis: convs[0], to_rgbs[0], then convs[2k-1], convs[2k], to_rgbs[k].
struct Network {
  at::Tensor input;  // [C, 4, 4]
  std::vector<Conv> convs;
  std::vector<ToRgb> to_rgbs;
  std::optional<double> clamp;  // of activations and of each toRGB
  std::int64_t image_size = 0;
  /// The clamp; infinity for none.
  double limit() const { return clamp.value_or(std::numeric_limits<double>::infinity()); }
};

/// Scaled: convolutions' weights are copies, 1/√(9 inputs) multiplied in. AsStored: views of the generator's own where these
/// are float32.
enum class Weights { Scaled, AsStored };

/// Float32 on the generator's device. nullopt where the generator is not StyleGAN2 under these names (a foreign
/// module, or a filter that is not separable): the exact sweep cannot take it apart.
std::optional<Network> read_network(Generator& generator, Weights weights = Weights::Scaled);

/// A picture's noise maps, one a convolution, strength multiplied in; undefined for none. `seed` and `picture` are those of
/// random noise.
std::vector<at::Tensor> noise_of(const Network& network, NoiseMode noise, std::uint64_t seed, std::int64_t picture);

}  // namespace styleclip::exact
