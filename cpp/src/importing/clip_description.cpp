// Configurations that lie beside CLIP's weights: open_clip's (open_clip_config.json, or a file of its model_configs) and
// Hugging Face's (config.json of a CLIPModel, with preprocessor_config.json). They tell what shapes cannot, heads and
// activation, and whether the network computes something that ours does not: then it is refused by name.
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <utility>

#include "importing/clip_weights.h"
#include "styleclip/error.h"

namespace styleclip::importing {
namespace {

using nlohmann::json;

constexpr std::uintmax_t kMostBytes = 1U << 20U;  // the longest have a few kB

std::string name_of(const std::string& path) { return std::filesystem::path(path).filename().string(); }

json read_json(const std::string& path) {
  std::error_code failure;
  const auto bytes = std::filesystem::file_size(path, failure);
  std::ifstream in(path, std::ios::binary);
  if (failure || !in) {
    throw Error(ErrorCode::FileNotFound, "The configuration " + path + " cannot be read.", "Check the path.");
  }
  json parsed = bytes > kMostBytes ? json() : json::parse(in, nullptr, false);
  if (!parsed.is_object()) {
    throw Error(ErrorCode::FileDamaged, "The configuration " + path + " is no JSON object.",
                "Give the open_clip_config.json or config.json of the model.");
  }
  return parsed;
}

[[noreturn]] void refuse(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::ModelMismatch, file + " describes a network that is not CLIP's: " + what + ".",
              "Give a model with CLIP's own towers (ViT or ResNet, and its text transformer).");
}

/// null, false and absent are the same in both kinds of configuration.
bool unset(const json& value) { return value.is_null() || value == false; }

/// The object under `name`, or an empty one.
json section(const json& parent, const char* name) {
  const auto found = parent.find(name);
  return found != parent.end() && found->is_object() ? *found : json::object();
}

void copy_number(const json& from, const char* name, json& config, const char* field) {
  const auto found = from.find(name);
  if (found != from.end() && found->is_number_integer()) config[field] = *found;
}

std::int64_t integer(const json& from, const char* name, std::int64_t fallback, const std::string& file) {
  const auto found = from.find(name);
  if (found == from.end() || unset(*found)) return fallback;
  if (!found->is_number_integer() || *found < 1 || *found > 1'000'000) {
    refuse(file, std::string(name) + " is " + found->dump());
  }
  return found->get<std::int64_t>();
}

/// Fields of open_clip's towers that change no number of a plain CLIP, or that the shapes tell.
const std::set<std::string>& harmless() {
  static const std::set<std::string> names = {"layers",
                                              "width",
                                              "heads",
                                              "head_width",
                                              "mlp_ratio",
                                              "patch_size",
                                              "image_size",
                                              "context_length",
                                              "vocab_size",
                                              "patch_dropout",
                                              "hf_tokenizer_name",
                                              "eos_id",
                                              "pad_id",
                                              "attn_pooler_queries",
                                              "attn_pooler_heads",
                                              "n_queries",
                                              "attn_pooler_query",
                                              "timm_model_pretrained",
                                              "timm_drop",
                                              "timm_drop_path",
                                              "hf_model_pretrained",
                                              "tokenizer_kwargs"};
  return names;
}

/// What a field is where it says no more than CLIP does.
const std::set<std::pair<std::string, std::string>>& plain_values() {
  static const std::set<std::pair<std::string, std::string>> values = {{"pool_type", "tok"},
                                                                       {"pool_type", "argmax"},
                                                                       {"pos_embed_type", "learnable"},
                                                                       {"proj_type", "linear"},
                                                                       {"timm_pool", "avg"},
                                                                       {"timm_proj", "linear"},
                                                                       {"block_type", "default"},
                                                                       {"attn_type", "default"},
                                                                       {"hf_proj_type", "mlp"},
                                                                       {"hf_pooler_type", "mean_pooler"}};
  return values;
}

void check_open_clip_tower(const json& tower, const std::string& name, const std::string& file) {
  for (const auto& [field, value] : tower.items()) {
    if (unset(value) || harmless().contains(field)) continue;
    if (value.is_string() && plain_values().contains({field, value.get<std::string>()})) continue;
    if (value.is_object() && value.empty()) continue;
    std::string what = name;
    what.append(".").append(field).append(" is ").append(value.dump());
    refuse(file, what);
  }
}

/// Means or deviations of three colours.
void copy_colours(const json& from, const char* name, json& config, const char* field) {
  const auto found = from.find(name);
  if (found == from.end() || !found->is_array() || found->size() != 3) return;
  for (const json& number : *found) {
    if (!number.is_number()) return;
  }
  config[field] = *found;
}

void note_interpolation(const std::string& name, ClipDescription& description) {
  if (name == "bicubic") return;
  description.notes.push_back(description.file + " asks for " + name +
                              " resizing of pictures; styleclip resizes bicubically, as CLIP does.");
}

std::string activation_of(const json& tower, const std::string& tower_name, const std::string& file) {
  const auto found = tower.find("hidden_act");
  const std::string name = found == tower.end() || !found->is_string() ? "quick_gelu" : found->get<std::string>();
  if (name == "quick_gelu") return "quickgelu";
  if (name == "gelu") return "gelu";
  refuse(file, tower_name + ".hidden_act is '" + name + "'");
}

}  // namespace

ClipDescription parse_open_clip_config(const json& whole, const std::string& file) {
  const json model = whole.contains("model_cfg") ? section(whole, "model_cfg") : whole;
  const json vision = section(model, "vision_cfg"), text = section(model, "text_cfg");
  if (!section(model, "multimodal_cfg").empty()) refuse(file, "it has a multimodal_cfg (CoCa)");
  const auto bias = model.find("init_logit_bias");
  if (bias != model.end() && !unset(*bias)) refuse(file, "it has an init_logit_bias (SigLIP)");
  check_open_clip_tower(vision, "vision_cfg", file);
  check_open_clip_tower(text, "text_cfg", file);

  ClipDescription description{.file = file, .config = json::object(), .notes = {}};
  json& config = description.config;
  config["activation"] = model.value("quick_gelu", json(false)) == true ? "quickgelu" : "gelu";
  copy_number(model, "embed_dim", config, "embedding");
  copy_number(vision, "width", config, "vision_width");
  copy_number(vision, "image_size", config, "image_size");
  copy_number(text, "width", config, "text_width");
  copy_number(text, "layers", config, "text_layers");
  copy_number(text, "context_length", config, "context_length");
  copy_number(text, "vocab_size", config, "vocabulary");
  const auto layers = vision.find("layers");
  const bool resnet = layers != vision.end() && layers->is_array();
  config["vision"] = resnet ? "resnet" : "vit";
  if (layers != vision.end() && !layers->is_null()) config["vision_layers"] = resnet ? *layers : json::array({*layers});
  if (!resnet) copy_number(vision, "patch_size", config, "patch");
  const std::int64_t width = integer(vision, "width", 768, file), head = integer(vision, "head_width", 64, file);
  config["vision_heads"] = std::max<std::int64_t>(1, (resnet ? 32 * width : width) / head);
  config["text_heads"] = integer(text, "heads", 8, file);

  const json preprocess = section(whole, "preprocess_cfg");
  copy_colours(preprocess, "mean", config, "mean");
  copy_colours(preprocess, "std", config, "std");
  const auto interpolation = preprocess.find("interpolation");
  if (interpolation != preprocess.end() && interpolation->is_string()) {
    note_interpolation(interpolation->get<std::string>(), description);
  }
  return description;
}

ClipDescription parse_hugging_face_config(const json& whole, const std::string& file) {
  const auto type = whole.find("model_type");
  if (type != whole.end() && type->is_string() && *type != "clip") {
    refuse(file, "its model_type is '" + type->get<std::string>() + "'");
  }
  // Old files keep what was asked for in text_config_dict and vision_config_dict, which counts more.
  json vision = section(whole, "vision_config"), text = section(whole, "text_config");
  vision.update(section(whole, "vision_config_dict"));
  text.update(section(whole, "text_config_dict"));

  ClipDescription description{.file = file, .config = json::object(), .notes = {}};
  json& config = description.config;
  for (const auto& [tower, name] : {std::pair(&vision, "vision_config"), std::pair(&text, "text_config")}) {
    const double epsilon =
        tower->value("layer_norm_eps", json(1e-5)).is_number() ? tower->value("layer_norm_eps", 1e-5) : 0;
    if (epsilon < 0.99e-5 || epsilon > 1.01e-5) {
      refuse(file, std::string(name) + ".layer_norm_eps is " + (*tower)["layer_norm_eps"].dump() + ", not 1e-05");
    }
  }
  const std::string activation = activation_of(vision, "vision_config", file);
  if (activation_of(text, "text_config", file) != activation) refuse(file, "its towers have different activations");
  config["activation"] = activation;
  config["vision"] = "vit";
  copy_number(whole, "projection_dim", config, "embedding");
  copy_number(vision, "hidden_size", config, "vision_width");
  copy_number(vision, "image_size", config, "image_size");
  copy_number(vision, "patch_size", config, "patch");
  copy_number(vision, "intermediate_size", config, "vision_mlp");
  copy_number(text, "hidden_size", config, "text_width");
  copy_number(text, "num_hidden_layers", config, "text_layers");
  copy_number(text, "intermediate_size", config, "text_mlp");
  copy_number(text, "max_position_embeddings", config, "context_length");
  copy_number(text, "vocab_size", config, "vocabulary");
  const auto layers = vision.find("num_hidden_layers");
  if (layers != vision.end()) config["vision_layers"] = json::array({*layers});
  // Defaults of transformers' CLIPVisionConfig and CLIPTextConfig.
  config["vision_heads"] = integer(vision, "num_attention_heads", 12, file);
  config["text_heads"] = integer(text, "num_attention_heads", 8, file);
  // Texts are read at the largest id; 2 is what files say that were written before transformers looked at the field.
  const auto end = text.find("eos_token_id");
  const std::int64_t vocabulary = integer(text, "vocab_size", 49408, file);
  if (end != text.end() && end->is_number_integer() && *end != 2 && *end != vocabulary - 1) {
    refuse(file,
           "its texts end with token " + end->dump() + ", which is not the last of " + std::to_string(vocabulary));
  }
  return description;
}

ClipDescription describe_clip(const ImportOptions& options, const std::string& checkpoint,
                              const std::vector<std::string>& names) {
  const std::filesystem::path folder = std::filesystem::path(checkpoint).parent_path();
  std::optional<std::string> path;
  if (!options.config_path.empty()) path = options.config_path;
  for (const std::string& name : names) {
    std::error_code none;
    if (!path && std::filesystem::is_regular_file(folder / name, none)) path = (folder / name).string();
  }
  if (!path) return {};
  const json whole = read_json(*path);
  if (whole.contains("model_cfg") || whole.contains("vision_cfg")) return parse_open_clip_config(whole, name_of(*path));
  if (!whole.contains("vision_config") && !whole.contains("vision_config_dict")) {
    throw Error(ErrorCode::FormatUnknown, *path + " is no configuration of a CLIP model.",
                "Give an open_clip_config.json, or the config.json of a Hugging Face CLIPModel.");
  }
  ClipDescription description = parse_hugging_face_config(whole, name_of(*path));
  const auto pictures = std::filesystem::path(*path).parent_path() / "preprocessor_config.json";
  std::error_code none;
  if (std::filesystem::is_regular_file(pictures, none)) {
    const json preprocess = read_json(pictures.string());
    copy_colours(preprocess, "image_mean", description.config, "mean");
    copy_colours(preprocess, "image_std", description.config, "std");
    const auto resample = preprocess.find("resample");  // Pillow's numbers: 3 is bicubic
    if (resample != preprocess.end() && resample->is_number_integer() && *resample != 3) {
      note_interpolation("another (Pillow's " + resample->dump() + ")", description);
    }
  }
  return description;
}

}  // namespace styleclip::importing
