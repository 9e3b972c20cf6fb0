// ArcFace networks under TreB1eN's names (InsightFace_Pytorch: IR-SE50 and its kin; face.evoLVe and CurricularFace, whose
// IR networks have no squeeze and excitation). Depth, widths and picture size are read off the tensors.
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <bit>
#include <cmath>

#include "importing/conversion.h"
#include "importing/ir_se_sizes.h"

namespace styleclip::importing {
namespace {

constexpr const char* kFormat = "ArcFace IR-SE";

struct Place {
  const Value* dict = nullptr;
  std::string prefix;
};

Place find_network(const Value& root) {
  for (const Value* dict : {&root, find_any(root, {"state_dict", "model"})}) {
    if (dict == nullptr || !dict->is(Value::Kind::Dict)) continue;
    for (const std::string prefix : {"", "module.", "facenet.", "module.facenet."}) {
      const bool found = dict->find(prefix + "input_layer.0.weight") != nullptr &&
                         dict->find(prefix + "output_layer.3.weight") != nullptr;
      if (found) return {dict, prefix};
    }
  }
  return {};
}

bool recognises(const Checkpoint& file) { return find_network(file.root()).dict != nullptr; }

Imported import(const Checkpoint& file, const ImportOptions&) {
  const Place place = find_network(file.root());
  if (place.dict == nullptr) {
    refuse(file.path() + " holds no ArcFace network: no 'input_layer.0.weight' and 'output_layer.3.weight'.",
           "Give model_ir_se50.pth or a network of the same form.");
  }
  TensorMap tensors = with_prefix(state_dict(*place.dict), place.prefix);
  Imported imported = begin_import("ir-se", kFormat, trunk_sizes(tensors));
  const std::int64_t channels = imported.config["channels"].back().get<std::int64_t>();
  const std::int64_t pixels = size_of(tensors, "output_layer.3.weight", 1) / channels;
  const auto side = static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(pixels))));
  imported.config["image_size"] = 16 * side;  // four stages of stride 2
  imported.config["embedding"] = size_of(tensors, "output_layer.3.weight", 0);
  // The last normalisation may be one without weights (affine=False).
  if (!tensors.contains("output_layer.4.weight") && !tensors.contains("output_layer.4.bias")) {
    const std::int64_t embedding = imported.config["embedding"].get<std::int64_t>();
    imported.weights["output_layer.4.weight"] = at::ones({embedding});
    imported.weights["output_layer.4.bias"] = at::zeros({embedding});
  }
  if (place.dict != &file.root()) {
    imported.ignored =
        other_keys(file.root(), {place.dict == find_any(file.root(), {"model"}) ? "model" : "state_dict"});
  }
  for (std::string& part : other_parts(*place.dict, place.prefix)) imported.ignored.push_back(std::move(part));
  take_tensors(imported, std::move(tensors), [](const std::string& name) { return Source{name}; }, place.prefix);
  return imported;
}

}  // namespace

std::vector<Importer> identity_importers() { return {{"identity", kFormat, recognises, import}}; }

}  // namespace styleclip::importing
