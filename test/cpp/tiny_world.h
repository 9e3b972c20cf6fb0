// A random generator of 16 pixels and a random CLIP, small enough that a sweep over every style channel takes a second.
// Random numbers everywhere: noise strengths and biases too, which a freshly initialised generator has at zero.
#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "refusals.h"
#include "styleclip/error.h"
#include "styleclip/models.h"
#include "styleclip/relevance.h"

namespace tiny {

using Weights = std::map<std::string, at::Tensor>;

inline const char* kGeneratorConfig =
    R"({"image_size": 16, "channels": [6, 5, 4], "z_width": 8, "style_width": 8, "mapping_layers": 2,
        "mapping_lr_multiplier": 1})";
inline const char* kClipConfig =
    R"({"vision": "vit", "image_size": 32, "embedding": 24, "vision_width": 32, "vision_layers": [2], "vision_heads": 4,
        "patch": 8, "text_width": 32, "text_layers": 2, "text_heads": 4, "context_length": 9, "vocabulary": 50})";
inline const char* kIdentityConfig =
    R"({"image_size": 16, "embedding": 12, "channels": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "reduction": 4,
        "preprocessing": "resize"})";

inline at::Tensor normal(at::Generator& engine, std::vector<std::int64_t> shape, double scale = 1, double centre = 0) {
  return at::randn(shape, engine) * scale + centre;
}

/// Weights under rosinality's names for kGeneratorConfig.
inline Weights generator_weights() {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(11);
  const std::vector<std::int64_t> channels = {6, 5, 4};
  const std::int64_t width = 8;
  Weights weights;
  const auto linear = [&](const std::string& name, std::int64_t inputs, std::int64_t outputs, double bias) {
    weights[name + ".weight"] = normal(engine, {outputs, inputs});
    weights[name + ".bias"] = normal(engine, {outputs}, 0.1, bias);
  };
  const auto conv = [&](const std::string& name, std::int64_t inputs, std::int64_t outputs) {
    weights[name + ".conv.weight"] = normal(engine, {1, outputs, inputs, 3, 3});
    linear(name + ".conv.modulation", width, inputs, 1);
    weights[name + ".noise.weight"] = normal(engine, {1}, 0.1, 0.2);
    weights[name + ".activate.bias"] = normal(engine, {outputs}, 0.2);
  };
  const auto rgb = [&](const std::string& name, std::int64_t inputs) {
    weights[name + ".conv.weight"] = normal(engine, {1, 3, inputs, 1, 1});
    linear(name + ".conv.modulation", width, inputs, 1);
    weights[name + ".bias"] = normal(engine, {1, 3, 1, 1}, 0.1);
  };
  linear("style.1", width, width, 0);
  linear("style.2", width, width, 0);
  weights["input.input"] = normal(engine, {1, channels[0], 4, 4});
  conv("conv1", channels[0], channels[0]);
  rgb("to_rgb1", channels[0]);
  weights["noises.noise_0"] = normal(engine, {1, 1, 4, 4});
  for (std::size_t block = 1; block < channels.size(); ++block) {
    const std::string at = std::to_string(2 * block - 2);
    const std::string next = std::to_string(2 * block - 1);
    const std::int64_t resolution = std::int64_t{4} << block;
    conv("convs." + at, channels[block - 1], channels[block]);
    conv("convs." + next, channels[block], channels[block]);
    rgb("to_rgbs." + std::to_string(block - 1), channels[block]);
    for (const std::size_t noise : {2 * block - 1, 2 * block}) {
      weights["noises.noise_" + std::to_string(noise)] = normal(engine, {1, 1, resolution, resolution});
    }
  }
  return weights;
}

/// Positive weights and input, and styles that start at 6: all that a leaky ReLU is given stays positive near positive
/// styles, so that pictures are smooth functions of them.
inline void keep_activations_positive(Weights& weights) {
  for (auto& [name, values] : weights) {
    if (name.starts_with("to_rgb")) continue;
    if (name.ends_with("modulation.bias")) values = at::full_like(values, 6);
    if (name.ends_with("conv.weight") || name == "input.input") values = values.abs();
  }
}

/// How far two float32 computations of one network's result in other orders are apart, beside its largest value. Each rounds
/// every term of the sums on its longest way once, and errors add up as independent ones do, by the root of their number;
/// three times that bounds the largest.
inline double orders_apart(double terms) { return 3 * 0x1p-24 * std::sqrt(2 * terms); }

/// Terms of the sums from S to a picture: inputs times taps of every layer, and noise, bias, gain and slope of a convolution;
/// twice four taps of the filter where it doubles the size, of the picture so far too.
inline double synthesis_terms(const Weights& weights) {
  double terms = 0;
  for (const auto& [name, values] : weights) {
    if (!name.ends_with(".conv.weight")) continue;
    terms += static_cast<double>(values.numel() / values.size(1)) + 4;
    if (name.starts_with("convs.") && (name[6] - '0') % 2 == 0) terms += 16;
  }
  return terms;
}

/// The same from a picture to kClipConfig's embedding: four taps of the resampling each way, a patch, six normalisations
/// (mean and square), the last matrix; a block's projections, 8 numbers a head, 17 places, and its two layers.
inline constexpr double kClipTerms = 2 * 4 + 3 * 64 + 6 * 2 * 32 + 32 + 2 * (32 + 8 + 17 + 32 + 32 + 128);

/// How far two float32 sums of n terms of one sign are apart, beside the sum: each errs by the root of n roundoffs (they are
/// independent), three times that at most.
inline double sums_apart(double n) { return 2 * 3 * 0x1p-24 * std::sqrt(n); }

/// How far two mean squares of the errors of tiny::generator()'s pictures may be apart: pictures in two orders, δ at most,
/// turn e² into (e ± δ)².
inline double squares_apart(const at::Tensor& images, double squares) {
  const double apart = orders_apart(synthesis_terms(generator_weights())) * images.abs().max().item<double>();
  return 2 * apart * std::sqrt(squares) + apart * apart + sums_apart(static_cast<double>(images[0].numel())) * squares;
}

/// Makes one style channel of a layer infinite for about half of all latents, with finite weights.
inline void overflow_style(Weights& weights, const std::string& layer, std::int64_t channel) {
  weights[layer + ".conv.modulation.bias"][channel] = 3.4e38;
  weights[layer + ".conv.modulation.weight"][channel][0] = 3e38;
}

/// A file that is gone with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& bytes) {
    static int number = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("styleclip-test-" + std::to_string(getpid()) + "-" + std::to_string(number++) + ".pt");
    styleclip::write_file_atomic(path_.string(), bytes);
  }
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline std::string archive(const char* kind, const char* config, const Weights* weights, std::uint64_t seed = 5) {
  styleclip::MakeRequest request;
  request.kind = kind;
  request.config_json = config;
  request.weights = weights;
  request.seed = seed;
  return styleclip::make_archive(request, {}).bytes;
}

template <class Model>
std::shared_ptr<Model> load(const char* kind, const std::string& config, const Weights* weights = nullptr,
                            std::uint64_t seed = 5) {
  const TemporaryFile file(archive(kind, config.c_str(), weights, seed));
  styleclip::LoadOptions options;
  options.device = "cpu";
  return Model::load(file.path(), options);
}

inline std::shared_ptr<styleclip::Generator> load_generator(const Weights& weights) {
  return load<styleclip::Generator>("stylegan2", kGeneratorConfig, &weights);
}

/// One generator, one CLIP and one identity network for all tests; none is ever changed.
inline styleclip::Generator& generator() {
  static const std::shared_ptr<styleclip::Generator> model = load_generator(generator_weights());
  return *model;
}
/// Of the generator's styles, over 500 samples.
inline const styleclip::StyleStatistics& statistics() {
  static const styleclip::StyleStatistics made = styleclip::style_statistics(generator(), 500, {}, {});
  return made;
}
inline styleclip::Clip& clip() {
  static const auto model = load<styleclip::Clip>("clip", kClipConfig);
  return *model;
}
inline styleclip::Identity& identity() {
  static const auto model = load<styleclip::Identity>("ir-se", kIdentityConfig, nullptr, 7);
  return *model;
}

using refusals::error_of;

}  // namespace tiny
