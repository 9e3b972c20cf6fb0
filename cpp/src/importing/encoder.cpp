// e4e and pSp encoders out of their training checkpoints: {state_dict: encoder.* and decoder.*, latent_avg, opts}. Both
// have the same tensors; opts say whether the heads give rows (pSp) or a row and offsets from it (e4e).
#include "importing/conversion.h"
#include "importing/ir_se_sizes.h"
#include "importing/mean_of_w.h"

namespace styleclip::importing {
namespace {

constexpr const char* kFormat = "e4e or pSp";
constexpr const char* kPrefix = "encoder.";

const Value* find_dict(const Value& root) {
  const Value* dict = find_any(root, {"state_dict"});
  if (dict == nullptr || !dict->is(Value::Kind::Dict)) return nullptr;
  return dict->find("encoder.input_layer.0.weight") != nullptr ? dict : nullptr;
}

bool recognises(const Checkpoint& file) { return find_dict(file.root()) != nullptr; }

std::string read_structure(const Value* opts) {
  const auto type = opts == nullptr ? std::nullopt : text_field(*opts, "encoder_type");
  if (!type) {
    refuse("The checkpoint does not say whether it is e4e or pSp: it has no 'opts.encoder_type'.",
           "Give the checkpoint as its training saved it, with opts.");
  }
  if (*type == "Encoder4Editing") return "e4e";
  if (*type == "GradualStyleEncoder") return "psp";
  refuse("'opts.encoder_type' is '" + *type + "'.",
         "Encoders of the types 'Encoder4Editing' (e4e) and 'GradualStyleEncoder' (pSp) can be imported.");
}

Imported import(const Checkpoint& file, const ImportOptions&) {
  const Value& root = file.root();
  const Value* dict = find_dict(root);
  if (dict == nullptr) {
    refuse(file.path() + " holds no encoder: no 'state_dict' with 'encoder.input_layer.0.weight'.",
           "Give an e4e or pSp checkpoint.");
  }
  TensorMap tensors = with_prefix(state_dict(*dict), kPrefix);
  const Value* opts = find_any(root, {"opts"});
  Imported imported = begin_import("e4e", kFormat, trunk_sizes(tensors));
  imported.config["structure"] = read_structure(opts);
  std::int64_t rows = 0, convolutions = 0;
  while (tensors.contains("styles." + std::to_string(rows) + ".linear.weight")) ++rows;
  while (tensors.contains("styles.0.convs." + std::to_string(2 * convolutions) + ".weight")) ++convolutions;
  imported.config["rows"] = rows;
  imported.config["style_width"] = size_of(tensors, "styles.0.linear.weight", 0);
  // The first head reads size / 16 pixels and halves them down to one.
  const std::int64_t size = std::int64_t{16} << std::min<std::int64_t>(convolutions, 16);
  imported.config["image_size"] = size;
  // e4e's cars are 192 pixels high and 256 wide (configs/transforms_config.py).
  const bool cars = opts != nullptr && text_field(*opts, "dataset_type").value_or("").starts_with("cars");
  if (cars) imported.config["image_height"] = size / 4 * 3;

  const Value* average = find_any(root, {"latent_avg"});
  const bool has_average = average != nullptr && average->is(Value::Kind::Tensor);
  const bool uses_average = opts == nullptr || number_field(*opts, "start_from_latent_avg").value_or(1) != 0;
  if (uses_average && has_average) {
    imported.weights["latent_avg"] = average->tensor();
  } else if (uses_average) {
    imported.weights["latent_avg"] = mean_of_w(with_prefix(state_dict(*dict), "decoder."));
    imported.notes.emplace_back("The file has no latent_avg: the mean of w over " + std::to_string(kMeanSamples) +
                                " samples of its decoder was computed.");
  } else if (has_average) {
    imported.ignored.emplace_back("latent_avg");
  }
  for (std::string& part : other_parts(*dict, kPrefix)) imported.ignored.push_back(std::move(part));
  for (std::string& key : other_keys(root, {"state_dict", "latent_avg", "opts"})) {
    imported.ignored.push_back(std::move(key));
  }
  take_tensors(imported, std::move(tensors), [](const std::string& name) { return Source{name}; }, kPrefix);
  return imported;
}

}  // namespace

std::vector<Importer> encoder_importers() { return {{"encoder", kFormat, recognises, import}}; }

}  // namespace styleclip::importing
