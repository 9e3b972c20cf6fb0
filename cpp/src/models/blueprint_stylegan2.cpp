// StyleGAN2's generator under rosinality's names (rosinality/stylegan2-pytorch, model.py); initial values are that
// file's. The layer list, rows and offsets come from StyleLayout, the one place that knows the order of StyleSpace.
#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <utility>

#include "models/config.h"
#include "models/script_text.h"
#include "models/spec.h"
#include "styleclip/error.h"
#include "styleclip/style_layout.h"

namespace styleclip {
namespace {

using Init = TensorSpec::Init;

struct Sizes {
  std::int64_t image_size, z_width, style_width, mapping_layers, mapping_width, label_width, label_features = 0;
  double multiplier;
  std::vector<std::int64_t> channels;  // of 4, 8, ..., image_size
  std::optional<double> clamp;         // of every layer's output, +-
  bool scaled_demodulation;
};

Sizes read_sizes(ConfigReader& reader) {
  Sizes sizes{};
  sizes.image_size = reader.integer("image_size", 1024, 8, 1024);
  if (!std::has_single_bit(static_cast<std::uint64_t>(sizes.image_size))) reader.refuse("image_size", "a power of two");
  const std::size_t resolutions = std::bit_width(static_cast<std::uint64_t>(sizes.image_size)) - 2;
  std::vector<std::int64_t> fallback;
  if (!reader.has("channels")) {
    // config-f: min(base / resolution, most), base 32768 (rosinality's channel_multiplier 2).
    const std::int64_t base = reader.integer("channel_base", 32768, 8, 1 << 20);
    const std::int64_t most = reader.integer("channel_max", 512, 1, 4096);
    for (std::size_t i = 0; i < resolutions; ++i) {
      fallback.push_back(std::max<std::int64_t>(1, std::min(base / (std::int64_t{4} << i), most)));
    }
  }
  sizes.channels = reader.integers("channels", fallback, resolutions, 1, 4096);
  sizes.z_width = reader.integer("z_width", 512, 1, 4096);
  sizes.style_width = reader.integer("style_width", 512, 1, 4096);
  sizes.mapping_layers = reader.integer("mapping_layers", 8, 1, 64);
  sizes.mapping_width = reader.integer("mapping_width", sizes.style_width, 1, 4096);
  sizes.multiplier = reader.number("mapping_lr_multiplier", 0.01, 1e-4, 1);
  sizes.label_width = reader.integer("label_width", 0, 0, 1 << 16);
  if (sizes.label_width > 0) sizes.label_features = reader.integer("label_features", sizes.style_width, 1, 4096);
  sizes.clamp = reader.optional_number("conv_clamp", 1e-3, 1e6);
  sizes.scaled_demodulation = reader.choice("demodulation", "scaled", {"scaled", "plain"}) == "scaled";
  reader.integer("num_fp16_res", 0, 0, 16);  // load.cpp reads it: 0 leaves the dtype to who loads
  return sizes;
}

// Filters, noise maps and the mean of w: older files lack some of them.
void optional_buffer(Blueprint& blueprint, const std::string& name, std::vector<std::int64_t> shape, Init init,
                     double scale) {
  blueprint.buffer(name, std::move(shape), init, scale);
  blueprint.tensors.back().optional = true;
}

void equal_linear(Blueprint& blueprint, const std::string& name, std::int64_t inputs, std::int64_t outputs,
                  double multiplier, double bias) {
  blueprint.parameter(name + ".weight", {outputs, inputs}, Init::Normal, 1 / multiplier);
  blueprint.parameter(name + ".bias", {outputs}, Init::Constant, bias / multiplier);
  blueprint.code[name] = {script_text("equal_linear"), {}};
}

void modulated(Blueprint& blueprint, const std::string& name, std::int64_t inputs, std::int64_t outputs,
               std::int64_t kernel, std::int64_t style_width) {
  blueprint.parameter(name + ".weight", {1, outputs, inputs, kernel, kernel}, Init::Normal, 1);
  equal_linear(blueprint, name + ".modulation", style_width, inputs, 1, 1);
}

ScriptRows clamp_rows(const Sizes& sizes) {
  ScriptRows rows = {{"clamp", {}}};
  if (sizes.clamp) rows["clamp"].push_back({{"limit", nlohmann::json(*sizes.clamp).dump()}});
  return rows;
}

void styled_conv(Blueprint& blueprint, const std::string& name, std::int64_t inputs, std::int64_t outputs, bool up,
                 const Sizes& sizes) {
  modulated(blueprint, name + ".conv", inputs, outputs, 3, sizes.style_width);
  if (up) optional_buffer(blueprint, name + ".conv.blur.kernel", {4, 4}, Init::Blur, 4);
  blueprint.parameter(name + ".noise.weight", {1}, Init::Constant, 0);
  blueprint.parameter(name + ".activate.bias", {outputs}, Init::Constant, 0);
  ScriptRows rows = clamp_rows(sizes);
  rows[""] = {{{"epsilon", sizes.scaled_demodulation ? "1e-8" : "1e-8 * scale * scale"}}};
  blueprint.code[name] = {script_text(up ? "stylegan2_up_conv" : "stylegan2_conv", rows), {}};
}

void to_rgb(Blueprint& blueprint, const std::string& name, std::int64_t inputs, bool first, const Sizes& sizes) {
  modulated(blueprint, name + ".conv", inputs, 3, 1, sizes.style_width);
  blueprint.parameter(name + ".bias", {1, 3, 1, 1}, Init::Constant, 0);
  if (!first) optional_buffer(blueprint, name + ".upsample.kernel", {4, 4}, Init::Blur, 4);
  blueprint.code[name] = {script_text(first ? "stylegan2_to_rgb_first" : "stylegan2_to_rgb", clamp_rows(sizes)), {}};
}

// The module that holds the affine of a layer of the layout: layer 0 is conv1, 1 to_rgb1, then three a block.
std::string module_of(std::size_t layer) {
  if (layer == 0) return "self.conv1";
  if (layer == 1) return "self.to_rgb1";
  const std::size_t block = (layer - 2) / 3, place = (layer - 2) % 3;
  if (place == 2) return "getattr(self.to_rgbs, \"" + std::to_string(block) + "\")";
  return "getattr(self.convs, \"" + std::to_string(2 * block + place) + "\")";
}

std::string root_text(const Sizes& sizes, const StyleLayout& layout) {
  ScriptRows rows;
  rows[sizes.label_width > 0 ? "label" : "plain"].emplace_back();
  rows[sizes.label_width > 0 ? "plain" : "label"] = {};
  for (std::int64_t i = 1; i <= sizes.mapping_layers; ++i) {
    rows["mapping"].push_back({{"layer", std::to_string(i)}, {"multiplier", nlohmann::json(sizes.multiplier).dump()}});
  }
  for (std::size_t i = 0; i < layout.layers.size(); ++i) {
    rows["style"].push_back({{"module", module_of(i)}, {"row", std::to_string(layout.layers[i].w_row)}});
  }
  const std::size_t blocks = sizes.channels.size() - 1;
  for (std::size_t i = 0; i <= 2 * blocks; ++i) rows["noise"].push_back({{"index", std::to_string(i)}});
  for (std::size_t i = 0; i < blocks; ++i) {
    const auto text = [](std::size_t value) { return std::to_string(value); };
    rows["block"].push_back({{"index", text(i)},
                             {"up", text(2 * i)},
                             {"same", text(2 * i + 1)},
                             {"up_style", text(3 * i + 2)},
                             {"same_style", text(3 * i + 3)},
                             {"rgb_style", text(3 * i + 4)},
                             {"up_noise", text(2 * i + 1)},
                             {"same_noise", text(2 * i + 2)}});
  }
  return script_text("stylegan2", rows);
}

}  // namespace

Blueprint stylegan2_blueprint(const nlohmann::json& config) {
  ConfigReader reader(config, "stylegan2");
  const Sizes sizes = read_sizes(reader);
  const StyleLayout layout = StyleLayout::stylegan2(sizes.image_size, sizes.channels);

  Blueprint blueprint;
  blueprint.kind = "generator";
  blueprint.architecture = "stylegan2";
  blueprint.config = reader.finish();
  if (sizes.label_width > 0) equal_linear(blueprint, "embed", sizes.label_width, sizes.label_features, 1, 0);
  for (std::int64_t i = 1; i <= sizes.mapping_layers; ++i) {
    equal_linear(blueprint, "style." + std::to_string(i),
                 i == 1 ? sizes.z_width + sizes.label_features : sizes.mapping_width,
                 i == sizes.mapping_layers ? sizes.style_width : sizes.mapping_width, sizes.multiplier, 0);
  }
  const std::vector<std::int64_t>& channels = sizes.channels;
  blueprint.parameter("input.input", {1, channels[0], 4, 4}, Init::Normal, 1);
  styled_conv(blueprint, "conv1", channels[0], channels[0], false, sizes);
  to_rgb(blueprint, "to_rgb1", channels[0], true, sizes);
  optional_buffer(blueprint, "noises.noise_0", {1, 1, 4, 4}, Init::Normal, 1);
  for (std::size_t i = 1; i < channels.size(); ++i) {
    const std::string up = std::to_string(2 * i - 2), same = std::to_string(2 * i - 1);
    const std::int64_t resolution = std::int64_t{4} << i;
    styled_conv(blueprint, "convs." + up, channels[i - 1], channels[i], true, sizes);
    styled_conv(blueprint, "convs." + same, channels[i], channels[i], false, sizes);
    to_rgb(blueprint, "to_rgbs." + std::to_string(i - 1), channels[i], false, sizes);
    for (std::size_t noise : {2 * i - 1, 2 * i}) {
      optional_buffer(blueprint, "noises.noise_" + std::to_string(noise), {1, 1, resolution, resolution}, Init::Normal,
                      1);
    }
  }
  // rosinality keeps it beside the weights: the mean of w; computed when the weights have none.
  optional_buffer(blueprint, "latent_avg", {sizes.style_width}, Init::Constant, 0);
  blueprint.code[""] = {root_text(sizes, layout), {}};

  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const StyleLayer& layer : layout.layers) {
    layers.push_back({{"name", layer.name},
                      {"resolution", layer.resolution},
                      {"channels", layer.channels},
                      {"type", layer.to_rgb ? "torgb" : "conv"},
                      {"w_row", layer.w_row}});
  }
  blueprint.details = {{"image_size", sizes.image_size},   {"value_range", {-1, 1}}, {"z_width", sizes.z_width},
                       {"style_width", sizes.style_width}, {"rows", layout.rows},    {"layers", std::move(layers)}};
  if (sizes.label_width > 0) blueprint.details["label_width"] = sizes.label_width;
  return blueprint;
}

}  // namespace styleclip
