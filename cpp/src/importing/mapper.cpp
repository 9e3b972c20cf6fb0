// StyleCLIP's latent mappers out of their training checkpoints: {state_dict: mapper.* and decoder.*, opts}. Which levels
// or layers have a network is told by the keys alone, because upstream's opts are overridden when it is run.
#include "importing/conversion.h"

namespace styleclip::importing {
namespace {

constexpr const char* kFormat = "StyleCLIP mapper";
constexpr const char* kPrefix = "mapper.";

const Value* find_dict(const Value& root) {
  for (const Value* dict : {find_any(root, {"state_dict"}), &root}) {
    if (dict == nullptr || !dict->is(Value::Kind::Dict)) continue;
    for (const auto& [key, value] : dict->entries()) {
      if (!key.is(Value::Kind::String) || !key.text().starts_with(kPrefix)) continue;
      if (key.text().ends_with("mapping.1.weight")) return dict;
    }
  }
  return nullptr;
}

bool recognises(const Checkpoint& file) { return find_dict(file.root()) != nullptr; }

std::int64_t count_layers(const TensorMap& tensors, const std::string& network) {
  std::int64_t layers = 0;
  while (tensors.contains(network + "mapping." + std::to_string(layers + 1) + ".weight")) ++layers;
  return layers;
}

// Rows of w_plus: from the decoder in the file, else from its options.
std::int64_t count_rows(const TensorMap& all, const Value* opts) {
  std::int64_t convolutions = 0;
  while (all.contains("decoder.convs." + std::to_string(convolutions) + ".conv.weight")) ++convolutions;
  if (convolutions > 0) return convolutions + 2;
  const auto size = opts == nullptr ? std::nullopt : number_field(*opts, "stylegan_size");
  for (std::int64_t rows = 4, of = 8; size && of <= 1024; rows += 2, of *= 2) {
    if (static_cast<double>(of) == *size) return rows;
  }
  refuse("The checkpoint does not say how many rows its latents have: no 'decoder.*' and no 'opts.stylegan_size'.",
         "Give the checkpoint as StyleCLIP's training saved it.");
}

void read_w_plus(nlohmann::json& config, const TensorMap& tensors, std::int64_t rows) {
  config["rows"] = rows;
  if (tensors.contains("mapping.1.weight")) {
    config["levels"] = {"all"};
    config["mapping_layers"] = count_layers(tensors, "");
    config["style_width"] = size_of(tensors, "mapping.1.weight", 1);
    return;
  }
  for (const std::string level : {"coarse", "medium", "fine"}) {
    const std::string network = (level == "coarse" ? std::string("course") : level) + "_mapping.";  // sic
    if (!tensors.contains(network + "mapping.1.weight")) continue;
    config["levels"].push_back(level);
    config["mapping_layers"] = count_layers(tensors, network);
    config["style_width"] = size_of(tensors, network + "mapping.1.weight", 1);
  }
}

// Layers of S have a network each; those of toRGB may have none, and are as wide as the layer before them.
void read_s(nlohmann::json& config, const TensorMap& tensors) {
  const auto name = [](std::int64_t layer) { return "mapper_" + std::to_string(layer) + ".mapping.1.weight"; };
  std::vector<std::int64_t> channels;
  bool all = true;
  for (std::int64_t layer = 0;; ++layer) {
    const bool mapped = tensors.contains(name(layer)), to_rgb = layer % 3 == 1;
    if (!mapped && !to_rgb) break;
    channels.push_back(size_of(tensors, name(mapped ? layer : layer - 1), 1));
    all = all && mapped;
  }
  config["channels"] = channels;
  config["layers"] = all ? "all" : "conv";
  config["mapping_layers"] = count_layers(tensors, "mapper_0.");
}

Imported import(const Checkpoint& file, const ImportOptions&) {
  const Value& root = file.root();
  const Value* dict = find_dict(root);
  if (dict == nullptr) {
    refuse(file.path() + " holds no mapper: no 'mapper.*.mapping.1.weight'.",
           "Give a checkpoint of StyleCLIP's mapper.");
  }
  const TensorMap all = state_dict(*dict);
  TensorMap tensors = with_prefix(all, kPrefix);
  const bool s = tensors.contains("mapper_0.mapping.1.weight");
  Imported imported = begin_import("mapper", kFormat, {{"space", s ? "s" : "w_plus"}});
  if (s) {
    read_s(imported.config, tensors);
  } else {
    read_w_plus(imported.config, tensors, count_rows(all, find_any(root, {"opts"})));
  }
  for (std::string& part : other_parts(*dict, kPrefix)) imported.ignored.push_back(std::move(part));
  if (dict != &root) {
    for (std::string& key : other_keys(root, {"state_dict", "opts"})) imported.ignored.push_back(std::move(key));
  }
  take_tensors(imported, std::move(tensors), [](const std::string& name) { return Source{name}; }, kPrefix);
  return imported;
}

}  // namespace

std::vector<Importer> mapper_importers() { return {{"mapper", kFormat, recognises, import}}; }

}  // namespace styleclip::importing
