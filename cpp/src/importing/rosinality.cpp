// StyleGAN2 as rosinality/stylegan2-pytorch saves it, {g_ema, latent_avg, ...}, its bare state dict, and the `decoder.`
// of e4e, pSp and mapper checkpoints. Names are the blueprint's; every size is read off the tensors.
#include "importing/conversion.h"

namespace styleclip::importing {
namespace {

constexpr const char* kFormat = "rosinality";
constexpr const char* kDecoder = "decoder.";

// Where a file's generator is.
struct Place {
  const Value* dict = nullptr;
  std::string prefix;  // of its names: "", "module.", "decoder."
};

Place find_generator(const Value& root) {
  for (const Value* dict : {find_any(root, {"g_ema"}), find_any(root, {"g"}), find_any(root, {"state_dict"}), &root}) {
    if (dict == nullptr || !dict->is(Value::Kind::Dict)) continue;
    for (const char* prefix : {"", "module.", kDecoder}) {
      const std::string first = prefix;
      const bool both = dict->find(first + "input.input") != nullptr && dict->find(first + "style.1.weight") != nullptr;
      if (both) return {dict, first};
    }
  }
  return {};
}

bool recognises(const Checkpoint& file) { return find_generator(file.root()).dict != nullptr; }

nlohmann::json read_sizes(const TensorMap& tensors) {
  nlohmann::json config;
  std::int64_t layers = 0;
  while (tensors.contains("style." + std::to_string(layers + 1) + ".weight")) ++layers;
  config["mapping_layers"] = layers;
  config["z_width"] = size_of(tensors, "style.1.weight", 1);
  config["mapping_width"] = size_of(tensors, "style.1.weight", 0);
  config["style_width"] = size_of(tensors, "style." + std::to_string(layers) + ".weight", 0);
  std::vector<std::int64_t> channels = {size_of(tensors, "input.input", 1)};
  for (std::int64_t i = 0; tensors.contains("convs." + std::to_string(i) + ".conv.weight"); i += 2) {
    channels.push_back(size_of(tensors, "convs." + std::to_string(i) + ".conv.weight", 1));
  }
  config["image_size"] = std::int64_t{2} << std::min<std::size_t>(channels.size(), 32);
  config["channels"] = channels;
  return config;
}

// [width], [1, width], or the same for every row.
bool usable_average(const at::Tensor& average, std::int64_t width) {
  if (average.dim() < 1 || average.size(-1) != width || average.numel() < width) return false;
  const at::Tensor rows = average.reshape({-1, width});
  return rows.eq(rows.select(0, 0)).all().item<bool>();
}

Imported import(const Checkpoint& file, const ImportOptions&) {
  const Value& root = file.root();
  const Place place = find_generator(root);
  if (place.dict == nullptr) {
    refuse(file.path() + " holds no StyleGAN2 under rosinality's names: no 'input.input' and 'style.1.weight'.",
           "Give a checkpoint with g_ema, a bare state dict, or one with decoder.*.");
  }
  TensorMap tensors = with_prefix(state_dict(*place.dict), place.prefix);
  Imported imported = begin_import("stylegan2", kFormat, read_sizes(tensors));
  const std::int64_t width = imported.config["style_width"].get<std::int64_t>();
  const Value* average = find_any(root, {"latent_avg"});
  if (average != nullptr && average->is(Value::Kind::Tensor)) {
    if (usable_average(average->tensor(), width)) {
      imported.weights["latent_avg"] = average->tensor().reshape({-1, width}).select(0, 0);
    } else {
      imported.ignored.emplace_back("latent_avg");
      imported.notes.emplace_back("latent_avg differs from row to row: the mean of w was computed instead.");
    }
  }
  if (place.dict != &root) {
    for (std::string& key : other_keys(root, {"g_ema", "latent_avg"})) {
      if (find_any(root, {key.c_str()}) != place.dict) imported.ignored.push_back(std::move(key));
    }
  }
  for (std::string& part : other_parts(*place.dict, place.prefix)) imported.ignored.push_back(std::move(part));
  take_tensors(imported, std::move(tensors), [](const std::string& name) { return Source{name}; }, place.prefix);
  imported.notes.emplace_back(
      "The file does not record the mapping network's learning-rate multiplier: 0.01 was assumed, as everywhere.");
  return imported;
}

}  // namespace

std::vector<Importer> rosinality_importers() { return {{"generator", kFormat, recognises, import}}; }

}  // namespace styleclip::importing
