// StyleCLIP's latent mapper under the names of its checkpoints (SC:mapper/latent_mappers.py, without `mapper.`): three
// networks for rows 0-3, 4-7 and 8 on of w_plus, any of which may be missing; one for all rows; or one a layer of S.
#include <algorithm>
#include <utility>

#include "models/config.h"
#include "models/script_text.h"
#include "models/spec.h"

namespace styleclip {
namespace {

using Init = TensorSpec::Init;

// A network over `size` rows of w_plus or channels of S, or the lack of one.
struct Part {
  std::string module;  // "course_mapping"; "" is the root; unused without a network
  std::int64_t first, size, width;
  bool mapped;
};

std::vector<Part> level_parts(ConfigReader& reader, std::int64_t rows, std::int64_t width) {
  const std::vector<std::string> levels =
      reader.subset("levels", {"coarse", "medium", "fine"}, {"coarse", "medium", "fine", "all"});
  const auto has = [&levels](const char* level) {
    return std::find(levels.begin(), levels.end(), level) != levels.end();
  };
  if (has("all")) {
    if (levels.size() > 1) reader.refuse("levels", "\"all\" alone, or some of \"coarse\", \"medium\" and \"fine\"");
    return {{"", 0, rows, width, true}};
  }
  if (rows < 9) reader.refuse("rows", "at least 9 rows, or levels [\"all\"]");
  return {{"course_mapping", 0, 4, width, has("coarse")},  // sic
          {"medium_mapping", 4, 4, width, has("medium")},
          {"fine_mapping", 8, rows - 8, width, has("fine")}};
}

std::vector<Part> layer_parts(const std::vector<std::int64_t>& channels, bool with_to_rgb) {
  std::vector<Part> parts;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < channels.size(); ++i) {
    const bool to_rgb = i % 3 == 1;  // conv1, toRGB, then conv0, conv1, toRGB a block
    parts.push_back({"mapper_" + std::to_string(i), first, channels[i], channels[i], with_to_rgb || !to_rgb});
    first += channels[i];
  }
  return parts;
}

void add_network(Blueprint& blueprint, const Part& part, std::int64_t layers, double multiplier) {
  const std::string prefix = part.module.empty() ? "" : part.module + ".";
  for (std::int64_t i = 1; i <= layers; ++i) {  // 0 is the pixel norm
    const std::string name = prefix + "mapping." + std::to_string(i);
    blueprint.parameter(name + ".weight", {part.width, part.width}, Init::Normal, 1 / multiplier);
    blueprint.parameter(name + ".bias", {part.width}, Init::Constant, 0);
    blueprint.code[name] = {script_text("equal_linear"), {}};
  }
}

}  // namespace

Blueprint mapper_blueprint(const nlohmann::json& config) {
  ConfigReader reader(config, "mapper");
  const std::string space = reader.choice("space", "w_plus", {"w_plus", "s"});
  const std::int64_t layers = reader.integer("mapping_layers", 4, 1, 64);
  const double multiplier = reader.number("mapping_lr_multiplier", 0.01, 1e-4, 1);
  Blueprint blueprint;
  blueprint.kind = "mapper";
  blueprint.architecture = "mapper";
  blueprint.details["space"] = space;
  std::vector<Part> parts;
  if (space == "w_plus") {
    const std::int64_t rows = reader.integer("rows", 18, 1, 64), width = reader.integer("style_width", 512, 1, 8192);
    parts = level_parts(reader, rows, width);
    blueprint.details["rows"] = rows;
    blueprint.details["style_width"] = width;
  } else {
    const std::vector<std::int64_t> channels = reader.integers("channels", {}, 0, 1, 8192);
    if (channels.empty() || channels.size() % 3 != 2) {
      reader.refuse("channels", "the channels of every layer of S: two, and three for each later block");
    }
    parts = layer_parts(channels, reader.choice("layers", "conv", {"conv", "all"}) == "all");
    std::int64_t total = 0;
    for (const std::int64_t one : channels) total += one;
    blueprint.details["total"] = total;
  }
  blueprint.config = reader.finish();

  ScriptRows network = {{"layer", {}}}, root = {{"part", {}}};
  for (std::int64_t i = 1; i <= layers; ++i) {
    network["layer"].push_back({{"index", std::to_string(i)}, {"multiplier", nlohmann::json(multiplier).dump()}});
  }
  const std::string code = script_text("mapper_part", network);
  const auto mapped = [](const std::string& module, const std::string& x) { return module + ".part(" + x + ")"; };
  for (const Part& part : parts) {
    const std::string slice = "x[:, " + std::to_string(part.first) + ":" + std::to_string(part.first + part.size) + "]";
    const std::string module = part.module.empty() ? "self" : "self." + part.module;
    root["part"].push_back({{"value", part.mapped ? mapped(module, slice) : "torch.zeros_like(" + slice + ")"}});
    if (!part.mapped) continue;
    add_network(blueprint, part, layers, multiplier);
    if (!part.module.empty()) blueprint.code[part.module] = {code, {}};
  }
  const bool single = parts.front().module.empty();
  blueprint.code[""] = {script_text("mapper", root) + (single ? code : ""), {}};
  return blueprint;
}

}  // namespace styleclip
