// Pictures on their way out: collected batch by batch in the form that was asked for, so that the floats of a long call
// never all exist at once when bytes were wanted.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isnan.h>

#include <cstdint>
#include <string>
#include <utility>

#include "convert.h"
#include "styleclip/error.h"
#include "styleclip/models.h"

namespace styleclip::binding {

enum class PictureType { Uint8, Float32 };

inline PictureType read_picture_type(const Options& options) {
  return options.choice<PictureType>("as", {{"uint8", PictureType::Uint8}, {"float32", PictureType::Float32}});
}

inline NoiseMode read_noise(const Options& options) {
  return options.choice<NoiseMode>(
      "noise", {{"const", NoiseMode::Const}, {"random", NoiseMode::Random}, {"none", NoiseMode::None}});
}

inline Preprocess read_preprocess(const Options& options) {
  return options.choice<Preprocess>("preprocess",
                                    {{"float", Preprocess::Float}, {"reference8", Preprocess::Reference8}});
}

/// Device thread.
class PictureStore {
 public:
  /// uint8 [count, size, size, 3], or float32 [count, 3, size, size].
  PictureStore(std::int64_t count, std::int64_t size, PictureType type)
      : type_(type),
        pictures_(type == PictureType::Uint8 ? at::empty({count, size, size, 3}, at::kByte)
                                             : at::empty({count, 3, size, size}, at::kFloat)) {}

  /// float [b, 3, size, size], pictures first … first + b - 1. Throws NotFinite where bytes are wanted of NaN, which would
  /// come out black.
  void put(std::int64_t first, const at::Tensor& images) {
    if (type_ == PictureType::Uint8) check_colours(first, images);
    const at::Tensor part = type_ == PictureType::Uint8 ? to_uint8_nhwc(images) : images;
    pictures_.narrow(0, first, images.size(0)).copy_(part.detach());
  }
  at::Tensor take() { return std::move(pictures_); }

 private:
  static void check_colours(std::int64_t first, const at::Tensor& images) {
    const at::Tensor broken = at::isnan(images).flatten(1).any(1);
    if (!broken.any().item<bool>()) return;
    throw Error(
        ErrorCode::NotFinite,
        "Picture " + std::to_string(first + broken.to(at::kByte).argmax().item<std::int64_t>()) +
            " holds NaN, which is no colour.",
        "The generator is damaged, or the latents are far from what it knows: import it again, or use weaker edits.");
  }

  PictureType type_;
  at::Tensor pictures_;
};

}  // namespace styleclip::binding
