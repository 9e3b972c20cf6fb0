// IR-SE networks: ArcFace under TreB1eN's names (TreB1eN/InsightFace_Pytorch, model.py) and the e4e encoder, which has
// the same trunk (omertov/encoder4editing, models/encoders/psp_encoders.py), as pSp's has; IR networks are the same
// without squeeze and excitation (CurricularFace, face.evoLVe). Initial values are the framework's
// defaults, and N(0, 1) for e4e's equalised layers, as in those files.
#include <bit>

#include "models/config.h"
#include "models/script_text.h"
#include "models/spec.h"

namespace styleclip {
namespace {

using Init = TensorSpec::Init;

struct Trunk {
  std::vector<std::int64_t> blocks, channels;
  std::int64_t reduction;  // of squeeze and excitation; 0: none
};

// IR-SE50: arXiv 1801.07698; reduction 16: arXiv 1709.01507.
Trunk read_trunk(ConfigReader& reader) {
  Trunk trunk;
  trunk.blocks = reader.integers("blocks", {3, 4, 14, 3}, 4, 1, 200);
  trunk.channels = reader.integers("channels", {64, 128, 256, 512}, 4, 1, 8192);
  trunk.reduction = reader.integer("reduction", 16, 0, 8192);
  for (const std::int64_t channels : trunk.channels) {
    if (trunk.reduction > 0 && channels % trunk.reduction != 0)
      reader.refuse("reduction", "a divisor of every number of channels");
  }
  return trunk;
}

void block(Blueprint& blueprint, const std::string& name, std::int64_t inputs, std::int64_t outputs,
           std::int64_t stride, std::int64_t reduction) {
  const std::string main = name + ".res_layer";
  if (inputs != outputs) {
    blueprint.layer(name + ".shortcut_layer.0", {outputs, inputs, 1, 1}, false);
    blueprint.batch_norm(name + ".shortcut_layer.1", outputs);
  }
  blueprint.batch_norm(main + ".0", inputs);
  blueprint.layer(main + ".1", {outputs, inputs, 3, 3}, false);
  blueprint.parameter(main + ".2.weight", {outputs}, Init::Constant, 0.25);
  blueprint.layer(main + ".3", {outputs, outputs, 3, 3}, false);
  blueprint.batch_norm(main + ".4", outputs);
  ScriptRows rows = {{"excitation", {}}};
  if (reduction > 0) {
    blueprint.layer(main + ".5.fc1", {outputs / reduction, outputs, 1, 1}, false);
    blueprint.layer(main + ".5.fc2", {outputs, outputs / reduction, 1, 1}, false);
    rows["excitation"].emplace_back();
  }
  blueprint.code[name] = {script_text(inputs == outputs ? "ir_se_block" : "ir_se_block_wide", rows),
                          {{"stride", stride}}};
}

std::vector<ScriptRow> index_rows(std::int64_t first, std::int64_t count) {
  std::vector<ScriptRow> rows;
  for (std::int64_t i = first; i < first + count; ++i) rows.push_back({{"index", std::to_string(i)}});
  return rows;
}

// input_layer and body, which ArcFace and e4e share.
void add_trunk(Blueprint& blueprint, const Trunk& trunk) {
  const auto& [blocks, channels, reduction] = trunk;
  blueprint.layer("input_layer.0", {channels[0], 3, 3, 3}, false);
  blueprint.batch_norm("input_layer.1", channels[0]);
  blueprint.parameter("input_layer.2.weight", {channels[0]}, Init::Constant, 0.25);
  std::int64_t index = 0, inputs = channels[0];
  for (std::size_t stage = 0; stage < blocks.size(); ++stage) {
    for (std::int64_t i = 0; i < blocks[stage]; ++i, ++index) {
      block(blueprint, "body." + std::to_string(index), inputs, channels[stage], i == 0 ? 2 : 1, reduction);
      inputs = channels[stage];
    }
  }
}

}  // namespace

Blueprint ir_se_blueprint(const nlohmann::json& config) {
  ConfigReader reader(config, "ir-se");
  const std::int64_t size = reader.integer("image_size", 112, 16, 4096);
  if (size % 16 != 0) reader.refuse("image_size", "a multiple of 16");
  const Trunk trunk = read_trunk(reader);
  const std::int64_t embedding = reader.integer("embedding", 512, 1, 16384);
  const std::string preprocessing = reader.choice("preprocessing", "face-crop", {"face-crop", "resize"});

  Blueprint blueprint;
  blueprint.kind = "identity";
  blueprint.architecture = "ir-se";
  blueprint.config = reader.finish();
  add_trunk(blueprint, trunk);
  const std::int64_t last = trunk.channels.back(), side = size / 16;
  blueprint.batch_norm("output_layer.0", last);
  blueprint.layer("output_layer.3", {embedding, last * side * side}, true);
  blueprint.batch_norm("output_layer.4", embedding);
  std::int64_t blocks = 0;
  for (const std::int64_t count : trunk.blocks) blocks += count;
  blueprint.code[""] = {script_text("ir_se", {{"block", index_rows(0, blocks)}}), {}};
  blueprint.details = {
      {"image_size", size}, {"value_range", {-1, 1}}, {"embedding", embedding}, {"preprocessing", preprocessing}};
  return blueprint;
}

Blueprint e4e_blueprint(const nlohmann::json& config) {
  ConfigReader reader(config, "e4e");
  const std::int64_t size = reader.integer("image_size", 256, 32, 4096);
  if (!std::has_single_bit(static_cast<std::uint64_t>(size))) reader.refuse("image_size", "a power of two");
  const std::int64_t height = reader.integer("image_height", size, 16, size);
  if (height % 8 != 0) reader.refuse("image_height", "a multiple of 8");
  const Trunk trunk = read_trunk(reader);
  const std::int64_t rows = reader.integer("rows", 18, 2, 64);
  const std::int64_t width = reader.integer("style_width", 512, 1, 8192);
  // Channels inside a head, as many as a style has in e4e; most of a narrow encoder's weights are there.
  const std::int64_t inner = reader.integer("head_width", width, 1, 8192);
  const bool offsets = reader.choice("structure", "e4e", {"e4e", "psp"}) == "e4e";

  Blueprint blueprint;
  blueprint.kind = "encoder";
  blueprint.architecture = "e4e";
  blueprint.config = reader.finish();
  add_trunk(blueprint, trunk);

  // Rows 0-2 read the coarse features (size/16), 3-6 the middle (size/8), the rest the fine ones (size/4).
  const std::vector<std::int64_t>& channels = trunk.channels;
  ScriptRows text;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::string head = "styles." + std::to_string(row), body = head + ".convs.";
    const char* features = row < 3 ? "coarse" : row < 7 ? "middle" : "fine";
    const std::int64_t side = row < 3 ? size / 16 : row < 7 ? size / 8 : size / 4;
    const int convs = std::bit_width(static_cast<std::uint64_t>(side)) - 1;
    ScriptRows head_text;
    for (int i = 0; i < convs; ++i) {
      const std::string index = std::to_string(2 * i);  // the odd ones are the activations
      blueprint.layer(body + index, {inner, i == 0 ? channels[3] : inner, 3, 3}, true);
      head_text["conv"].push_back({{"index", index}});
    }
    blueprint.parameter(head + ".linear.weight", {width, inner}, Init::Normal, 1);
    blueprint.parameter(head + ".linear.bias", {width}, Init::Constant, 0);
    blueprint.code[head + ".linear"] = {script_text("equal_linear"), {}};
    blueprint.code[head] = {script_text("e4e_head", head_text), {}};
    if (row > 0)
      text["row"].push_back(
          {{"index", std::to_string(row)}, {"features", features}, {"base", offsets ? "base + " : ""}});
  }
  blueprint.layer("latlayer1", {channels[3], channels[2], 1, 1}, true);
  blueprint.layer("latlayer2", {channels[3], channels[1], 1, 1}, true);
  blueprint.buffer("latent_avg", {rows, width}, Init::Constant, 0);
  blueprint.tensors.back().optional = true;
  text["fine"] = index_rows(0, trunk.blocks[0] + trunk.blocks[1]);
  text["middle"] = index_rows(trunk.blocks[0] + trunk.blocks[1], trunk.blocks[2]);
  text["coarse"] = index_rows(trunk.blocks[0] + trunk.blocks[1] + trunk.blocks[2], trunk.blocks[3]);
  blueprint.code[""] = {script_text("e4e", text), {}};
  blueprint.details = {{"image_size", size}, {"value_range", {-1, 1}}, {"rows", rows}, {"style_width", width}};
  if (height != size) blueprint.details["image_height"] = height;
  return blueprint;
}

}  // namespace styleclip
