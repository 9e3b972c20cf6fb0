// What the blueprints of all architectures share: layers as PyTorch names and initialises them, and the choice by name.
#include <cmath>
#include <utility>

#include "models/script_text.h"
#include "models/spec.h"
#include "styleclip/error.h"

namespace styleclip {

void Blueprint::parameter(std::string name, std::vector<std::int64_t> shape, TensorSpec::Init init, double scale) {
  tensors.push_back({.name = std::move(name), .shape = std::move(shape), .init = init, .scale = scale});
}

void Blueprint::buffer(std::string name, std::vector<std::int64_t> shape, TensorSpec::Init init, double scale) {
  tensors.push_back({.name = std::move(name), .shape = std::move(shape), .init = init, .scale = scale, .buffer = true});
}

void Blueprint::layer(const std::string& name, std::vector<std::int64_t> weight_shape, bool bias) {
  std::int64_t fan_in = 1;
  for (std::size_t i = 1; i < weight_shape.size(); ++i) fan_in *= weight_shape[i];
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  const std::int64_t outputs = weight_shape[0];
  parameter(name + ".weight", std::move(weight_shape), TensorSpec::Init::Uniform, bound);
  if (bias) parameter(name + ".bias", {outputs}, TensorSpec::Init::Uniform, bound);
}

void Blueprint::batch_norm(const std::string& name, std::int64_t channels, double weight) {
  parameter(name + ".weight", {channels}, TensorSpec::Init::Constant, weight);
  parameter(name + ".bias", {channels}, TensorSpec::Init::Constant, 0);
  buffer(name + ".running_mean", {channels}, TensorSpec::Init::Constant, 0);
  buffer(name + ".running_var", {channels}, TensorSpec::Init::Constant, 1);
  // Counts training steps; nothing reads it, old files lack it, and Python's strict loading asks for it.
  tensors.push_back(
      {.name = name + ".num_batches_tracked", .shape = {}, .buffer = true, .optional = true, .integer = true});
  code[name] = {script_text("batch_norm"), {}};
}

void Blueprint::layer_norm(const std::string& name, std::int64_t width) {
  parameter(name + ".weight", {width}, TensorSpec::Init::Constant, 1);
  parameter(name + ".bias", {width}, TensorSpec::Init::Constant, 0);
  code[name] = {script_text("layer_norm"), {}};
}

Blueprint make_blueprint(const std::string& architecture, const std::string& config_json) {
  const nlohmann::json config = nlohmann::json::parse(config_json.empty() ? "{}" : config_json, nullptr, false);
  if (config.is_discarded()) {
    throw Error(ErrorCode::Argument, "The model configuration is no JSON.", "Give a JSON object, {} for the defaults.");
  }
  if (architecture == "stylegan2") return stylegan2_blueprint(config);
  if (architecture == "clip") return clip_blueprint(config);
  if (architecture == "ir-se") return ir_se_blueprint(config);
  if (architecture == "e4e") return e4e_blueprint(config);
  if (architecture == "mapper") return mapper_blueprint(config);
  throw Error(ErrorCode::Argument, "There is no architecture '" + architecture + "'.",
              "Use 'stylegan2', 'clip', 'ir-se', 'e4e' or 'mapper'.");
}

bool runs_in_float32(const std::string& kind, const std::string& name) {
  const bool last = name == "visual.proj" || name == "text_projection" || name.starts_with("visual.attnpool.c_proj.");
  return stays_float32(kind, name) || (kind == "clip" && last);
}

bool stays_float32(const std::string& kind, const std::string& name) {
  if (kind == "module") return false;  // foreign: nothing is known of its names
  const auto ends = [&name](std::string_view end) { return name.ends_with(end); };
  if (kind == "generator") {
    // Mapping, affines, noise strengths and biases are small, and demodulation is sensitive to them.
    const bool image_side = ends(".conv.weight") || ends("input.input") || name.starts_with("noises.");
    return !image_side;
  }
  if (kind == "mapper") return true;  // small, and its steps are a tenth of what it gives
  if (ends("running_mean") || ends("running_var") || ends("latent_avg") || ends("logit_scale")) return true;
  if (kind == "clip") {
    return name.find("ln_") != std::string::npos || name.find(".bn") != std::string::npos ||
           name.find("downsample.1.") != std::string::npos;
  }
  // IR-SE: the batch normalisations by their place in input_layer, res_layer, shortcut_layer and output_layer.
  for (std::string_view norm :
       {"input_layer.1.", "res_layer.0.", "res_layer.4.", "shortcut_layer.1.", "output_layer.0.", "output_layer.4."}) {
    if (name.find(norm) != std::string::npos) return true;
  }
  return name.find(".linear.") != std::string::npos;
}

}  // namespace styleclip
