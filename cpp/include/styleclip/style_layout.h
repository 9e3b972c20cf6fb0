// StyleSpace: which style channels a generator has, and where each one stands in a flattened S vector.
//
// Order is the order of synthesis: the 4x4 block has [conv1, torgb], every later block [conv0, conv1, torgb].
// At 1024 px (config-f) that is 26 layers, 6048 conv + 3040 toRGB channels (arXiv 2011.12799; StyleCLIP's fs3.npy has the
// conv layers of the same order).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace styleclip {

struct StyleLayer {
  std::string name;             // "b4.conv1", "b4.torgb", "b8.conv0", …
  std::int64_t resolution = 0;  // of the layer's output, pixels
  std::int64_t channels = 0;    // length of its style = input channels of the convolution
  bool to_rgb = false;
  std::int64_t w_row = 0;   // row of w_plus that feeds its affine
  std::int64_t offset = 0;  // of its first channel in the flattened S vector (all layers)
};

struct StyleLayout {
  std::vector<StyleLayer> layers;
  std::int64_t rows = 0;  // rows of w_plus

  std::int64_t total() const;          // all channels
  std::int64_t conv_channels() const;  // without toRGB
  std::int64_t torgb_channels() const;

  /// Layer of a flat channel index (0 ≤ channel < total).
  std::size_t layer_of(std::int64_t channel) const;
  /// Flat indices of a set of layers, in synthesis order: "conv", "torgb", "all", or layer names.
  /// Throws Argument for a name that does not exist.
  std::vector<std::int64_t> select(const std::vector<std::string>& layers) const;

  /// List of [n, channels_l] -> [n, total]; and back (views of the input).
  at::Tensor flatten(const std::vector<at::Tensor>& styles) const;
  std::vector<at::Tensor> unflatten(const at::Tensor& s) const;

  /// Layout of StyleGAN2 from its image size and channels per resolution (4, 8, …, size).
  static StyleLayout stylegan2(std::int64_t image_size, const std::vector<std::int64_t>& channels);
};

}  // namespace styleclip
