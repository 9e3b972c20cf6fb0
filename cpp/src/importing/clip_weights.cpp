// Weights of a CLIP checkpoint and the sizes in their shapes; see clip_weights.h.
#include "importing/clip_weights.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "models/tensors.h"
#include "styleclip/error.h"

namespace styleclip::importing {
namespace {

[[noreturn]] void mismatch(const std::string& message, const std::string& remedy) {
  throw Error(ErrorCode::ModelMismatch, message, remedy);
}

constexpr const char* kNoClip = "Give a checkpoint of CLIP: OpenAI's, open_clip's or Hugging Face's CLIPModel.";

/// Takes `prefix` off when every name has it.
bool strip(TensorMap& tensors, std::string_view prefix) {
  const auto prefixed = [&](const auto& entry) { return entry.first.starts_with(prefix); };
  if (tensors.empty() || !std::all_of(tensors.begin(), tensors.end(), prefixed)) return false;
  TensorMap bare;
  for (auto& [name, tensor] : tensors) bare.emplace(name.substr(prefix.size()), std::move(tensor));
  tensors = std::move(bare);
  return true;
}

/// Sizes of tensors under OpenAI's names.
class Shapes {
 public:
  explicit Shapes(const TensorMap& weights) : weights_(weights) {}

  bool has(const std::string& name) const { return weights_.contains(name); }

  std::int64_t size(const std::string& name, std::int64_t dims, std::int64_t dim) const {
    const auto found = weights_.find(name);
    if (found == weights_.end()) mismatch("The weights lack '" + name + "'.", kNoClip);
    const at::Tensor& tensor = found->second;
    if (tensor.dim() != dims) {
      mismatch("'" + name + "' has shape " + shape_text(tensor.sizes()) + "; " + std::to_string(dims) +
                   " dimensions are wanted.",
               kNoClip);
    }
    return tensor.size(dim);
  }

  std::int64_t count(const std::string& prefix) const { return count_numbers(weights_, prefix); }

  /// Side of the square grid whose cells, and one more, have positions.
  std::int64_t grid(const std::string& positions) const {
    const std::int64_t cells = size(positions, 2, 0) - 1;
    const auto side =
        static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(std::max<std::int64_t>(cells, 0)))));
    if (cells < 1 || side * side != cells) {
      mismatch("'" + positions + "' has " + std::to_string(cells + 1) + " rows, which is no square and one.",
               "Only models for square pictures, with one class token, can be imported.");
    }
    return side;
  }

 private:
  const TensorMap& weights_;
};

nlohmann::json sizes_of(const Shapes& shapes) {
  nlohmann::json config;
  const std::string block = "transformer.resblocks.", picture_block = "visual." + block;
  config["text_width"] = shapes.size("ln_final.weight", 1, 0);
  config["context_length"] = shapes.size("positional_embedding", 2, 0);
  config["vocabulary"] = shapes.size("token_embedding.weight", 2, 0);
  config["embedding"] = shapes.size("text_projection", 2, 1);
  config["text_layers"] = shapes.count(block);
  config["text_mlp"] = shapes.size(block + "0.mlp.c_fc.weight", 2, 0);
  if (shapes.has("visual.attnpool.positional_embedding")) {
    config["vision"] = "resnet";
    config["vision_width"] = shapes.size("visual.conv3.weight", 4, 0);
    for (const std::string stage : {"1", "2", "3", "4"}) {
      shapes.size("visual.layer" + stage + ".0.conv1.weight", 4, 0);
      config["vision_layers"].push_back(shapes.count("visual.layer" + stage + "."));
    }
    // Stem and stages halve the picture five times.
    config["image_size"] = 32 * shapes.grid("visual.attnpool.positional_embedding");
    return config;
  }
  config["vision"] = "vit";
  config["vision_width"] = shapes.size("visual.conv1.weight", 4, 0);
  config["patch"] = shapes.size("visual.conv1.weight", 4, 3);
  config["vision_layers"] = {shapes.count(picture_block)};
  config["vision_mlp"] = shapes.size(picture_block + "0.mlp.c_fc.weight", 2, 0);
  config["image_size"] = config["patch"].get<std::int64_t>() * shapes.grid("visual.positional_embedding");
  return config;
}

/// In OpenAI's models, and in nearly all others up to this width, a head is 64 wide.
constexpr std::int64_t kHeadWidth = 64, kWidestOfOpenAi = 1024;

std::int64_t assumed_heads(const std::string& tower, std::int64_t width, std::int64_t channels) {
  if (width > kWidestOfOpenAi) {
    mismatch(
        "The file does not tell how many heads its " + tower + " tower of width " + std::to_string(width) + " has.",
        "Name the model's configuration (open_clip_config.json or config.json), or put it beside the file.");
  }
  return std::max<std::int64_t>(1, channels / kHeadWidth);
}

}  // namespace

std::int64_t count_numbers(const TensorMap& weights, const std::string& prefix) {
  std::set<std::string> numbers;
  for (auto at = weights.lower_bound(prefix); at != weights.end() && at->first.starts_with(prefix); ++at) {
    numbers.insert(at->first.substr(prefix.size(), at->first.find('.', prefix.size()) - prefix.size()));
  }
  return static_cast<std::int64_t>(numbers.size());
}

ClipWeights find_clip_weights(const Checkpoint& file) {
  ClipWeights found;
  const Value* holder = &file.root();
  if (!holder->is(Value::Kind::Dict)) return found;
  for (const char* name : {"state_dict", "model_state_dict", "model"}) {
    const Value* inner = holder->find(name);
    if (inner == nullptr || !inner->is(Value::Kind::Dict)) continue;
    found.training = holder->find("epoch") != nullptr && holder->find("name") != nullptr;
    for (const auto& [key, value] : holder->entries()) {
      if (key.is(Value::Kind::String) && key.text() != name) found.others.push_back(key.text());
    }
    holder = inner;
    break;
  }
  found.tensors = state_dict(*holder, &found.others);
  while (strip(found.tensors, "module.") || strip(found.tensors, "_orig_mod.")) {
  }
  return found;
}

nlohmann::json clip_config(const TensorMap& weights, const ClipDescription& description, const ImportOptions& options,
                           const std::string& fallback_activation, std::vector<std::string>& notes) {
  if (!options.activation.empty() && options.activation != "quickgelu" && options.activation != "gelu") {
    throw Error(ErrorCode::Argument, "There is no activation '" + options.activation + "'.",
                "Use 'quickgelu' or 'gelu'.");
  }
  nlohmann::json config = sizes_of(Shapes(weights));
  for (const auto& [field, value] : description.config.items()) {
    const auto have = config.find(field);
    if (have != config.end() && *have != value) {
      mismatch(description.file + " gives " + field + " " + value.dump() + "; the weights have " + have->dump() + ".",
               "It belongs to another model: name the right configuration, or move this one away.");
    }
    config[field] = value;
  }
  const std::int64_t vision_width = config.at("vision_width"), text_width = config.at("text_width");
  if (!config.contains("vision_heads")) {
    const bool resnet = config.at("vision") == "resnet";
    config["vision_heads"] = assumed_heads("picture", vision_width, resnet ? 32 * vision_width : vision_width);
  }
  if (!config.contains("text_heads")) config["text_heads"] = assumed_heads("text", text_width, text_width);
  if (!options.activation.empty()) config["activation"] = options.activation;
  if (!config.contains("activation")) {
    config["activation"] = fallback_activation;
    const bool quick = fallback_activation == "quickgelu";
    notes.push_back(std::string("The file does not tell its activation: ") +
                    (quick ? "QuickGELU was assumed, as in OpenAI's models."
                           : "GELU was assumed, as in most of open_clip's models.") +
                    " If it was trained with " + (quick ? "GELU" : "QuickGELU") +
                    ", name its configuration or the activation.");
  }
  return config;
}

void refuse_clip_kin(const TensorMap& weights,
                     const std::vector<std::pair<std::string_view, std::string_view>>& telling) {
  for (const auto& [name, tensor] : weights) {
    for (const auto& [part, what] : telling) {
      if (name.find(part) == std::string::npos) continue;
      mismatch("The file is " + std::string(what) + ", not CLIP: it holds '" + name + "'.", kNoClip);
    }
  }
}

}  // namespace styleclip::importing
