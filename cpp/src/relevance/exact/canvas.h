// From the RGB of each resolution straight to what CLIP sees. Up-sampling the picture so far, and resampling the whole to
// CLIP's size, are linear and separable, and nothing is clamped in between; so the picture's share of resolution r is
// M_r rgb_r M_rᵀ with one small matrix, and the full-size picture never exists.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "relevance/exact/network.h"

namespace styleclip::exact {

class Canvas {
 public:
  /// `size` x `size` pixels, resampled from the network's picture by the antialiased bicubic of preprocess_float; the
  /// picture's own size means no resampling.
  Canvas(const Network& network, std::int64_t size);

  std::int64_t size() const { return size_; }
  /// M_r of the `index`-th toRGB layer, [size, r] float32; undefined for the identity.
  const at::Tensor& matrix(std::size_t index) const { return matrices_[index]; }
  /// M_r plane M_rᵀ: planes [n, r, r] of the `index`-th toRGB layer -> [n, size, size].
  at::Tensor spread(std::size_t index, const at::Tensor& planes) const;

 private:
  std::int64_t size_;
  std::vector<at::Tensor> matrices_;  // [size, r]; undefined for the identity
};

}  // namespace styleclip::exact
