// What the tests of the models share: committed test vectors, archives in temporary files, and how far numbers may be
// apart in single precision.
#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "styleclip/models.h"
#include "tiny_world.h"

namespace fixture {

using tiny::error_of;
using tiny::TemporaryFile;
using tiny::Weights;

inline std::string path_of(const std::string& file) {
  const char* folder = std::getenv("STYLECLIP_TEST_DATA");
  REQUIRE_MESSAGE(folder != nullptr, "STYLECLIP_TEST_DATA names the folder test/data; ctest sets it");
  return std::string(folder) + "/models/" + file;
}

inline Weights read(const std::string& name) { return styleclip::read_safetensors(path_of(name + ".safetensors")); }

inline Weights weights_of(const Weights& vectors) {
  Weights weights;
  for (const auto& [name, tensor] : vectors) {
    if (name.starts_with("weights.")) weights[name.substr(8)] = tensor;
  }
  return weights;
}

/// First-order bound of the rounding of a chain of dot products in float32, relative to the largest value: unit
/// roundoff times the sum of all fan-ins (Higham, "Accuracy and Stability", 3.1), and never more than the 1e-4 that is promised.
inline double rounding_bound(const Weights& weights) {
  double fan_ins = 0;
  for (const auto& [name, tensor] : weights) {
    if (tensor.dim() >= 2 && tensor.numel() > 0)
      fan_ins += static_cast<double>(tensor.numel() / tensor.size(tensor.dim() == 5 ? 1 : 0));
  }
  return std::min(1e-4, fan_ins / (1 << 24));
}

/// Largest difference, relative to the largest value of `wanted`; infinite for another shape.
inline double distance(const at::Tensor& got, const at::Tensor& wanted) {
  if (got.sizes() != wanted.sizes()) return std::numeric_limits<double>::infinity();
  const at::Tensor a = got.detach().to(at::kDouble), b = wanted.detach().to(at::kDouble);
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

inline styleclip::LoadOptions cpu(const std::string& dtype = "float32", bool trust = false) {
  styleclip::LoadOptions options;
  options.device = "cpu";
  options.dtype = dtype;
  options.trust = trust;
  return options;
}

inline const char* kGenerator =
    R"({"image_size": 16, "channels": [6, 5, 4], "z_width": 5, "style_width": 7, "mapping_layers": 3})";
inline const char* kVit =
    R"({"vision": "vit", "image_size": 24, "patch": 8, "embedding": 10, "vision_width": 16, "vision_layers": [2],
        "vision_heads": 2, "text_width": 12, "text_layers": 2, "text_heads": 3, "context_length": 8, "vocabulary": 30})";
inline const char* kResnet =
    R"({"vision": "resnet", "image_size": 64, "embedding": 10, "vision_width": 2, "vision_layers": [1, 2, 1, 1],
        "vision_heads": 4, "text_width": 12, "text_layers": 2, "text_heads": 3, "context_length": 8, "vocabulary": 30})";
inline const char* kIdentity =
    R"({"image_size": 32, "blocks": [1, 2, 1, 1], "channels": [4, 8, 8, 12], "reduction": 4, "embedding": 9,
        "preprocessing": "resize"})";
inline const char* kEncoder =
    R"({"image_size": 32, "blocks": [1, 2, 1, 1], "channels": [4, 8, 8, 12], "reduction": 4, "rows": 9,
        "style_width": 6})";

inline std::shared_ptr<styleclip::Generator> generator(const Weights& weights, const std::string& dtype = "float32") {
  const TemporaryFile file(tiny::archive("stylegan2", kGenerator, &weights));
  return styleclip::Generator::load(file.path(), cpu(dtype));
}

}  // namespace fixture
