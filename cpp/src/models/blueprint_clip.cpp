// CLIP under OpenAI's names (openai/CLIP, clip/model.py), ViT or ModifiedResNet, with its text tower. Initial values
// are those of that file's initialize_parameters and of the framework's layers (reference notes H.3).
#include <cmath>

#include "models/config.h"
#include "models/script_text.h"
#include "models/spec.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

using Init = TensorSpec::Init;

struct Preset {
  const char* name;
  const char* vision;
  std::int64_t image_size, embedding, vision_width;
  std::vector<std::int64_t> vision_layers;
  std::int64_t patch, text_width, text_heads;
};

// The released models (openai/CLIP; table H.3 of the reference notes).
const std::vector<Preset>& presets() {
  static const std::vector<Preset> list = {
      {"ViT-B/32", "vit", 224, 512, 768, {12}, 32, 512, 8},
      {"ViT-B/16", "vit", 224, 512, 768, {12}, 16, 512, 8},
      {"ViT-L/14", "vit", 224, 768, 1024, {24}, 14, 768, 12},
      {"ViT-L/14@336px", "vit", 336, 768, 1024, {24}, 14, 768, 12},
      {"RN50", "resnet", 224, 1024, 64, {3, 4, 6, 3}, 0, 512, 8},
      {"RN101", "resnet", 224, 512, 64, {3, 4, 23, 3}, 0, 512, 8},
      {"RN50x4", "resnet", 288, 640, 80, {4, 6, 10, 6}, 0, 640, 10},
      {"RN50x16", "resnet", 384, 768, 96, {6, 8, 18, 8}, 0, 768, 12},
      {"RN50x64", "resnet", 448, 1024, 128, {3, 15, 36, 10}, 0, 1024, 16},
  };
  return list;
}

struct Sizes {
  bool resnet = false, quick_gelu = true;
  std::int64_t image_size = 0, embedding = 0, vision_width = 0, vision_heads = 0, vision_mlp = 0, patch = 0;
  std::vector<std::int64_t> vision_layers;
  std::int64_t text_width = 0, text_layers = 0, text_heads = 0, text_mlp = 0, context = 0, vocabulary = 0;
};

constexpr std::int64_t kTextLayers = 12;

// The preset with these sizes, or nullptr.
const Preset* preset_of(const Sizes& sizes) {
  for (const Preset& one : presets()) {
    const std::int64_t channels = one.vision_width * (sizes.resnet ? 32 : 1);
    const bool vision = sizes.resnet == (std::string(one.vision) == "resnet") && sizes.image_size == one.image_size &&
                        sizes.embedding == one.embedding && sizes.vision_width == one.vision_width &&
                        sizes.vision_layers == one.vision_layers && sizes.vision_heads == channels / 64 &&
                        sizes.patch == one.patch && (sizes.resnet || sizes.vision_mlp == 4 * one.vision_width);
    const bool text = sizes.text_width == one.text_width && sizes.text_heads == one.text_heads &&
                      sizes.text_mlp == 4 * one.text_width && sizes.text_layers == kTextLayers;
    if (vision && text) return &one;
  }
  return nullptr;
}

Sizes read_sizes(ConfigReader& reader) {
  std::vector<std::string> names;
  for (const Preset& one : presets()) names.emplace_back(one.name);
  const std::string chosen = reader.choice("preset", names[0], names);
  Preset preset = presets()[0];
  for (const Preset& one : presets()) {
    if (one.name == chosen) preset = one;
  }
  Sizes sizes;
  sizes.resnet = reader.choice("vision", preset.vision, {"vit", "resnet"}) == "resnet";
  if (sizes.resnet != (std::string(preset.vision) == "resnet")) {
    preset =
        sizes.resnet ? presets()[4] : presets()[0];  // another tower than the preset's: RN50's or ViT-B/32's numbers
  }
  sizes.image_size = reader.integer("image_size", preset.image_size, 8, 4096);
  sizes.embedding = reader.integer("embedding", preset.embedding, 1, 16384);
  sizes.vision_width = reader.integer("vision_width", preset.vision_width, 1, 16384);
  sizes.vision_layers = reader.integers("vision_layers", preset.vision_layers, sizes.resnet ? 4 : 1, 1, 200);
  const std::int64_t channels = sizes.resnet ? 32 * sizes.vision_width : sizes.vision_width;
  sizes.vision_heads = reader.integer("vision_heads", std::max<std::int64_t>(1, channels / 64), 1, channels);
  if (channels % sizes.vision_heads != 0) reader.refuse("vision_heads", "a divisor of " + std::to_string(channels));
  if (sizes.resnet) {
    if (sizes.vision_width % 2 != 0) reader.refuse("vision_width", "an even number");
    if (sizes.image_size % 32 != 0) reader.refuse("image_size", "a multiple of 32");
  } else {
    sizes.patch = reader.integer("patch", preset.patch, 1, sizes.image_size);
    if (sizes.image_size % sizes.patch != 0) reader.refuse("patch", "a divisor of the image size");
    sizes.vision_mlp = reader.integer("vision_mlp", 4 * sizes.vision_width, 1, 1 << 18);
  }
  sizes.text_width = reader.integer("text_width", preset.text_width, 1, 16384);
  sizes.text_layers = reader.integer("text_layers", kTextLayers, 1, 200);
  sizes.text_heads = reader.integer("text_heads", preset.text_heads, 1, sizes.text_width);
  if (sizes.text_width % sizes.text_heads != 0) reader.refuse("text_heads", "a divisor of the text width");
  sizes.text_mlp = reader.integer("text_mlp", 4 * sizes.text_width, 1, 1 << 18);
  sizes.context = reader.integer("context_length", 77, 2, 4096);
  sizes.vocabulary = reader.integer("vocabulary", 49408, 3, 10'000'000);
  sizes.quick_gelu = reader.choice("activation", "quickgelu", {"quickgelu", "gelu"}) == "quickgelu";
  const Preset* same = preset_of(sizes);
  same == nullptr ? reader.forget("preset") : reader.record("preset", same->name);
  return sizes;
}

double inverse_root(std::int64_t width) { return 1 / std::sqrt(static_cast<double>(width)); }

// text: normal numbers of initialize_parameters; vision: the framework's (Xavier for in_proj, kaiming for the rest).
void transformer(Blueprint& blueprint, const std::string& name, std::int64_t width, std::int64_t layers,
                 std::int64_t heads, std::int64_t mlp, bool quick_gelu, bool text) {
  ScriptRows rows;
  const double projection = inverse_root(width) / std::sqrt(2.0 * static_cast<double>(layers));
  const double framework = inverse_root(width);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string block = name + ".resblocks." + std::to_string(i);
    const auto matrix = [&](const std::string& at, std::int64_t outputs, std::int64_t inputs, double deviation) {
      if (!text) return blueprint.layer(block + at, {outputs, inputs}, true);
      blueprint.parameter(block + at + ".weight", {outputs, inputs}, Init::Normal, deviation);
      blueprint.parameter(block + at + ".bias", {outputs}, Init::Uniform, inverse_root(inputs));
    };
    blueprint.parameter(block + ".attn.in_proj_weight", {3 * width, width}, text ? Init::Normal : Init::Uniform,
                        text ? inverse_root(width) : std::sqrt(6.0 / static_cast<double>(4 * width)));
    blueprint.parameter(block + ".attn.in_proj_bias", {3 * width}, Init::Constant, 0);
    blueprint.parameter(block + ".attn.out_proj.weight", {width, width}, text ? Init::Normal : Init::Uniform,
                        text ? projection : framework);
    blueprint.parameter(block + ".attn.out_proj.bias", {width}, Init::Constant, 0);
    blueprint.layer_norm(block + ".ln_1", width);
    matrix(".mlp.c_fc", mlp, width, 1 / std::sqrt(2.0 * static_cast<double>(width)));
    matrix(".mlp.c_proj", width, mlp, projection);
    blueprint.layer_norm(block + ".ln_2", width);
    blueprint.code[block] = {script_text("clip_block"), {{"heads", heads}, {"quick_gelu", quick_gelu}}};
    rows["block"].push_back({{"index", std::to_string(i)}});
  }
  blueprint.code[name] = {script_text("clip_transformer", rows), {}};
}

void vision_transformer(Blueprint& blueprint, const Sizes& sizes) {
  const std::int64_t width = sizes.vision_width, side = sizes.image_size / sizes.patch;
  blueprint.parameter("visual.class_embedding", {width}, Init::Normal, inverse_root(width));
  blueprint.parameter("visual.positional_embedding", {side * side + 1, width}, Init::Normal, inverse_root(width));
  blueprint.parameter("visual.proj", {width, sizes.embedding}, Init::Normal, inverse_root(width));
  blueprint.layer("visual.conv1", {width, 3, sizes.patch, sizes.patch}, false);
  blueprint.layer_norm("visual.ln_pre", width);
  transformer(blueprint, "visual.transformer", width, sizes.vision_layers[0], sizes.vision_heads, sizes.vision_mlp,
              sizes.quick_gelu, false);
  blueprint.layer_norm("visual.ln_post", width);
  blueprint.code["visual"] = {script_text("clip_vit"), {}};
}

// conv1x1, conv3x3, conv1x1 to four times the width; the last normalisation starts at zero.
void bottleneck(Blueprint& blueprint, const std::string& name, std::int64_t inputs, std::int64_t width,
                std::int64_t stride) {
  blueprint.layer(name + ".conv1", {width, inputs, 1, 1}, false);
  blueprint.batch_norm(name + ".bn1", width);
  blueprint.layer(name + ".conv2", {width, width, 3, 3}, false);
  blueprint.batch_norm(name + ".bn2", width);
  blueprint.layer(name + ".conv3", {4 * width, width, 1, 1}, false);
  blueprint.batch_norm(name + ".bn3", 4 * width, 0);
  if (stride == 1 && inputs == 4 * width) {
    blueprint.code[name] = {script_text("clip_bottleneck"), {}};
    return;
  }
  blueprint.layer(name + ".downsample.0", {4 * width, inputs, 1, 1}, false);
  blueprint.batch_norm(name + ".downsample.1", 4 * width);
  blueprint.code[name] = {script_text("clip_bottleneck_down"), {{"stride", stride}}};
}

void vision_resnet(Blueprint& blueprint, const Sizes& sizes) {
  const std::int64_t width = sizes.vision_width, side = sizes.image_size / 32, channels = 32 * width;
  blueprint.layer("visual.conv1", {width / 2, 3, 3, 3}, false);
  blueprint.batch_norm("visual.bn1", width / 2);
  blueprint.layer("visual.conv2", {width / 2, width / 2, 3, 3}, false);
  blueprint.batch_norm("visual.bn2", width / 2);
  blueprint.layer("visual.conv3", {width, width / 2, 3, 3}, false);
  blueprint.batch_norm("visual.bn3", width);
  ScriptRows rows;
  std::int64_t inputs = width;
  for (std::int64_t stage = 1; stage <= 4; ++stage) {
    const std::int64_t planes = width << (stage - 1);
    for (std::int64_t i = 0; i < sizes.vision_layers[stage - 1]; ++i) {
      const std::string name = "visual.layer" + std::to_string(stage) + "." + std::to_string(i);
      bottleneck(blueprint, name, inputs, planes, i == 0 && stage > 1 ? 2 : 1);
      rows["block"].push_back({{"stage", std::to_string(stage)}, {"index", std::to_string(i)}});
      inputs = 4 * planes;
    }
  }
  blueprint.code["visual"] = {script_text("clip_resnet", rows), {}};

  const std::string pool = "visual.attnpool";
  blueprint.parameter(pool + ".positional_embedding", {side * side + 1, channels}, Init::Normal,
                      inverse_root(channels));
  for (const char* projection : {".k_proj", ".q_proj", ".v_proj", ".c_proj"}) {
    const std::int64_t outputs = std::string(projection) == ".c_proj" ? sizes.embedding : channels;
    blueprint.parameter(pool + projection + ".weight", {outputs, channels}, Init::Normal, inverse_root(channels));
    blueprint.parameter(pool + projection + ".bias", {outputs}, Init::Uniform, inverse_root(channels));
  }
  blueprint.code[pool] = {script_text("clip_attention_pool"), {{"heads", sizes.vision_heads}}};
}

}  // namespace

Blueprint clip_blueprint(const nlohmann::json& config) {
  ConfigReader reader(config, "clip");
  const Sizes sizes = read_sizes(reader);
  // openai/CLIP, clip.py `_transform`.
  const auto mean = reader.numbers("mean", {0.48145466, 0.4578275, 0.40821073}, 3, 0, 1);
  const auto deviation = reader.numbers("std", {0.26862954, 0.26130258, 0.27577711}, 3, 1e-3, 1e3);

  Blueprint blueprint;
  blueprint.kind = "clip";
  blueprint.architecture = "clip";
  blueprint.config = reader.finish();
  blueprint.parameter("positional_embedding", {sizes.context, sizes.text_width}, Init::Normal, 0.01);
  blueprint.parameter("text_projection", {sizes.text_width, sizes.embedding}, Init::Normal,
                      inverse_root(sizes.text_width));
  blueprint.parameter("logit_scale", {}, Init::Constant, std::log(1 / 0.07));
  if (sizes.resnet) {
    vision_resnet(blueprint, sizes);
  } else {
    vision_transformer(blueprint, sizes);
  }
  transformer(blueprint, "transformer", sizes.text_width, sizes.text_layers, sizes.text_heads, sizes.text_mlp,
              sizes.quick_gelu, true);
  blueprint.parameter("token_embedding.weight", {sizes.vocabulary, sizes.text_width}, Init::Normal, 0.02);
  blueprint.layer_norm("ln_final", sizes.text_width);
  blueprint.code[""] = {script_text("clip"), {}};
  // Tensors beside the weights in OpenAI's archives; clip.load drops them too.
  blueprint.ignored = {"input_resolution", "context_length", "vocab_size"};
  blueprint.details = {{"image_size", sizes.image_size},
                       {"value_range", {-1, 1}},
                       {"mean", mean},
                       {"std", deviation},
                       {"embedding", sizes.embedding},
                       {"context_length", sizes.context},
                       {"vocabulary", sizes.vocabulary}};
  return blueprint;
}

}  // namespace styleclip
