// The e4e network in a form that can be trained: archives fold normalisation with stored statistics into convolutions,
// training normalises by the batch's. Same tensors, same names; with stored statistics the same numbers as the archive.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "styleclip/models.h"

namespace styleclip {

class EncoderNetwork {
 public:
  /// Copies of the encoder's tensors in float32. Throws ModelMismatch when it is no e4e archive.
  explicit EncoderNetwork(const Encoder& encoder);

  std::map<std::string, at::Tensor>& tensors() { return tensors_; }
  const std::map<std::string, at::Tensor>& tensors() const { return tensors_; }
  /// Names of what is trained, in order; the others are statistics and the latent average.
  const std::vector<std::string>& trained() const { return trained_; }
  /// As JSON.
  const std::string& config() const { return config_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t width() const { return width_; }
  std::int64_t image_width() const { return image_width_; }
  std::int64_t image_height() const { return image_height_; }

  /// Running means and variances of a batch's statistics, by name; what a training step puts in the place of the old ones.
  using Statistics = std::map<std::string, at::Tensor>;
  /// Images [n, 3, height, width] -> w_plus [n, rows, width]. With `statistics` the batch's own are used, and it receives
  /// the new running ones. `type`: of activations and products.
  at::Tensor forward(const at::Tensor& images, Statistics* statistics, at::ScalarType type) const;

 private:
  struct Pass;

  std::map<std::string, at::Tensor> tensors_;
  std::vector<std::string> trained_;
  std::string config_;
  std::vector<std::int64_t> blocks_, channels_;
  std::int64_t reduction_ = 0, rows_ = 0, width_ = 0, image_width_ = 0, image_height_ = 0;
  bool offsets_ = true;
};

}  // namespace styleclip
