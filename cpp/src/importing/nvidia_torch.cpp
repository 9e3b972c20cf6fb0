// StyleGAN2 out of NVIDIA's PyTorch pickles (stylegan2-ada-pytorch, and the StyleGAN2 networks of the stylegan3
// repository): persistent objects whose source code lies in the pickle and is not run. What the code would have done is
// known: it is told from the modules' attributes, and anything that is not known is refused by name.
#include <ATen/ops/zeros.h>

#include <charconv>

#include "importing/conversion.h"

namespace styleclip::importing {
namespace {

constexpr const char* kFormat = "NVIDIA StyleGAN2 (PyTorch pickle)";
constexpr const char* kPersistent = "torch_utils.persistence._reconstruct_persistent_obj";
constexpr int kDeepest = 16;           // of modules in modules; a generator has 4
constexpr std::size_t kMost = 20'000;  // modules; a generator of 1024 pixels has 74. A file may name one many times.

// The one argument of a persistent object: {type, version, module_src, class_name, state}. nullptr for anything else.
const Value* persistent(const Value& value) {
  if (!value.is(Value::Kind::Object) || value.class_name() != kPersistent) return nullptr;
  const Value& arguments = value.arguments();
  const bool one = arguments.is(Value::Kind::Tuple) && arguments.items().size() == 1;
  return one && arguments.items()[0].is(Value::Kind::Dict) ? &arguments.items()[0] : nullptr;
}

// A module's __dict__, persistent or plain.
const Value& state_of(const Value& module) {
  static const Value none;
  if (const Value* meta = persistent(module)) {
    const Value* state = meta->find("state");
    return state == nullptr ? none : *state;
  }
  return module.is(Value::Kind::Object) ? module.state() : none;
}

const Value* child(const Value& module, const char* name) {
  const Value* modules = find_any(state_of(module), {"_modules"});
  return modules == nullptr ? nullptr : find_any(*modules, {name});
}

const Value* find_generator(const Value& root) {
  for (const Value* generator : {find_any(root, {"G_ema"}), find_any(root, {"G"}), &root}) {
    if (generator == nullptr || persistent(*generator) == nullptr) continue;
    if (child(*generator, "synthesis") != nullptr && child(*generator, "mapping") != nullptr) return generator;
  }
  return nullptr;
}

bool recognises(const Checkpoint& file) { return find_generator(file.root()) != nullptr; }

void collect(const Value& module, const std::string& prefix, TensorMap& tensors, int depth, std::size_t& visited) {
  if (depth > kDeepest || ++visited > kMost) {
    refuse("There are too many modules, or they are nested too deeply, at '" + prefix + "'.",
           "The file is no generator.");
  }
  const Value& state = state_of(module);
  for (const char* kind : {"_parameters", "_buffers"}) {
    const Value* entries = find_any(state, {kind});
    if (entries == nullptr || !entries->is(Value::Kind::Dict)) continue;
    for (const auto& [name, tensor] : entries->entries()) {
      const bool usable = name.is(Value::Kind::String) && tensor.is(Value::Kind::Tensor);
      if (usable) tensors.insert_or_assign(prefix + name.text(), tensor.tensor());
    }
  }
  const Value* modules = find_any(state, {"_modules"});
  if (modules == nullptr || !modules->is(Value::Kind::Dict)) return;
  for (const auto& [name, one] : modules->entries()) {
    if (name.is(Value::Kind::String)) collect(one, prefix + name.text() + ".", tensors, depth + 1, visited);
  }
}

[[noreturn]] void unsupported(const std::string& what, const std::string& value, const std::string& wanted) {
  refuse(what + " is " + value + "; only " + wanted + " is supported.",
         "This variant of StyleGAN2 cannot be imported; the standard configurations can.");
}

void need_text(const Value& module, const std::string& path, const char* field, const char* wanted) {
  const std::string value = text_field(state_of(module), field).value_or(wanted);
  if (value != wanted) unsupported(path + field, "'" + value + "'", "'" + std::string(wanted) + "'");
}

// What the attributes of the synthesis network's layers say.
struct Synthesis {
  std::optional<double> clamp;
  std::int64_t half_resolutions = 0;
  std::int64_t image_size = 0;
};

void read_layer(const Value& block, const char* name, const std::string& path, Synthesis& found, bool& first) {
  const Value* layer = child(block, name);
  if (layer == nullptr) return;
  need_text(*layer, path + name + ".", "activation", "lrelu");
  const std::optional<double> clamp = number_field(state_of(*layer), "conv_clamp");
  if (!first && clamp != found.clamp) {
    refuse("'" + path + name + ".conv_clamp' differs from that of other layers.", "Only one clamp can be imported.");
  }
  found.clamp = clamp;
  first = false;
}

Synthesis read_synthesis(const Value& synthesis) {
  const Value* modules = find_any(state_of(synthesis), {"_modules"});
  if (child(synthesis, "input") != nullptr) {
    refuse("This is a StyleGAN3 generator: 'synthesis.input'.", "Only StyleGAN2 generators can be imported.");
  }
  Synthesis found;
  bool first = true;
  for (std::int64_t size = 4; size <= 1024; size *= 2) {
    const std::string name = std::string("b").append(std::to_string(size)), path = "synthesis." + name + ".";
    const Value* block = modules == nullptr ? nullptr : find_any(*modules, {name.c_str()});
    if (block == nullptr) break;
    need_text(*block, path, "architecture", "skip");
    for (const char* layer : {"conv0", "conv1", "torgb"}) read_layer(*block, layer, path, found, first);
    const bool half = number_field(state_of(*block), "use_fp16").value_or(0) != 0;
    if (!half && found.half_resolutions > 0) {
      refuse("'" + path + "use_fp16' is false above a resolution that runs in float16.",
             "Only float16 in the highest resolutions can be imported.");
    }
    found.half_resolutions += half ? 1 : 0;
    found.image_size = size;
  }
  return found;
}

nlohmann::json read_sizes(const Value& generator, const TensorMap& tensors) {
  nlohmann::json config;
  const Synthesis synthesis = read_synthesis(*child(generator, "synthesis"));
  const Value& mapping = *child(generator, "mapping");
  std::int64_t layers = 0;
  while (tensors.contains("mapping.fc" + std::to_string(layers) + ".weight")) ++layers;
  const std::string last = "mapping.fc" + std::to_string(layers - 1) + ".weight";
  std::int64_t z_width = size_of(tensors, "mapping.fc0.weight", 1);
  if (tensors.contains("mapping.embed.weight")) {
    config["label_width"] = size_of(tensors, "mapping.embed.weight", 1);
    config["label_features"] = size_of(tensors, "mapping.embed.weight", 0);
    z_width -= config["label_features"].get<std::int64_t>();
  }
  config["mapping_layers"] = layers;
  config["z_width"] = z_width;
  config["mapping_width"] = size_of(tensors, "mapping.fc0.weight", 0);
  config["style_width"] = size_of(tensors, last, 0);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string name = "fc" + std::to_string(i);
    const Value* layer = child(mapping, name.c_str());
    if (layer == nullptr) refuse("'mapping." + name + "' is no module.", "The file is no generator.");
    need_text(*layer, "mapping." + name + ".", "activation", "lrelu");
    const double multiplier = number_field(state_of(*layer), "bias_gain").value_or(0.01);
    if (i > 0 && multiplier != config["mapping_lr_multiplier"].get<double>()) {
      refuse("'mapping." + name + ".bias_gain' differs from that of other layers.", "Only one gain can be imported.");
    }
    config["mapping_lr_multiplier"] = multiplier;
  }
  config["image_size"] = synthesis.image_size;
  std::vector<std::int64_t> channels = {size_of(tensors, "synthesis.b4.const", 0)};
  for (std::int64_t size = 8; size <= synthesis.image_size; size *= 2) {
    channels.push_back(size_of(tensors, "synthesis.b" + std::to_string(size) + ".conv1.weight", 0));
  }
  config["channels"] = channels;
  config["demodulation"] = "plain";
  config["num_fp16_res"] = synthesis.half_resolutions;
  if (synthesis.clamp) config["conv_clamp"] = checked_clamp(*synthesis.clamp);
  const std::int64_t colours = size_of(tensors, "synthesis.b4.torgb.weight", 0);
  if (colours != 3) unsupported("img_channels", std::to_string(colours), "3");
  return config;
}

at::Tensor unsqueeze_twice(const at::Tensor& tensor) { return tensor.unsqueeze(0).unsqueeze(0); }

// "weight" and so on of a modulated convolution under rosinality's names.
Source layer_source(const std::string& path, const std::string& tail) {
  const std::string up = path + ".resample_filter";
  if (tail == "conv.weight") return {path + ".weight", 4, [](const at::Tensor& t) { return t.unsqueeze(0); }};
  if (tail == "conv.modulation.weight") return {path + ".affine.weight"};
  if (tail == "conv.modulation.bias") return {path + ".affine.bias"};
  if (tail == "conv.blur.kernel") return {up, -1, [up](const at::Tensor& t) { return up_kernel(t, up); }};
  if (tail == "noise.weight") return {path + ".noise_strength", 0, [](const at::Tensor& t) { return t.reshape({1}); }};
  if (tail == "activate.bias") return {path + ".bias"};
  if (tail == "bias") return {path + ".bias", 1, [](const at::Tensor& t) { return t.reshape({1, -1, 1, 1}); }};
  return {};
}

Source source(const std::string& name) {
  const auto rest = [&name](std::string_view prefix) { return name.substr(prefix.size()); };
  const auto block = [](std::int64_t index) { return "synthesis.b" + std::to_string(std::int64_t{8} << index); };
  if (name == "latent_avg") return {"mapping.w_avg"};
  if (name == "input.input") return {"synthesis.b4.const", 3, [](const at::Tensor& t) { return t.unsqueeze(0); }};
  if (name.starts_with("embed.")) return {"mapping." + name};
  if (name.starts_with("conv1.")) return layer_source("synthesis.b4.conv1", rest("conv1."));
  if (name.starts_with("to_rgb1.")) return layer_source("synthesis.b4.torgb", rest("to_rgb1."));
  const std::size_t open = name.find_first_of("0123456789");
  if (open == std::string::npos) return {};
  std::int64_t index = 0;
  const char* end = std::from_chars(name.data() + open, name.data() + name.size(), index).ptr;
  const std::string tail = end < name.data() + name.size() ? std::string(end + 1, name.data() + name.size()) : "";
  if (name.starts_with("style.")) return {"mapping.fc" + std::to_string(index - 1) + "." + tail};
  if (name.starts_with("convs.")) return layer_source(block(index / 2) + (index % 2 == 0 ? ".conv0" : ".conv1"), tail);
  if (name.starts_with("to_rgbs.")) {
    const std::string up = block(index) + ".resample_filter";
    if (tail == "upsample.kernel") return {up, -1, [up](const at::Tensor& t) { return up_kernel(t, up); }};
    return layer_source(block(index) + ".torgb", tail);
  }
  if (index == 0) return {"synthesis.b4.conv1.noise_const", 2, unsqueeze_twice};
  return {block((index - 1) / 2) + (index % 2 == 1 ? ".conv0" : ".conv1") + ".noise_const", 2, unsqueeze_twice};
}

// Layers without noise (use_noise false) have neither strength nor map: a strength of zero is the same.
void supply_noise(Imported& imported, const TensorMap& tensors) {
  const std::size_t blocks = imported.config["channels"].size() - 1;
  for (std::size_t i = 0; i <= 2 * blocks; ++i) {
    const std::string layer = i == 0 ? "conv1" : "convs." + std::to_string(i - 1);
    if (tensors.contains(source(layer + ".noise.weight").name)) continue;
    const std::int64_t size = i == 0 ? 4 : std::int64_t{8} << ((i - 1) / 2);
    imported.weights[layer + ".noise.weight"] = at::zeros({1});
    imported.weights["noises.noise_" + std::to_string(i)] = at::zeros({1, 1, size, size});
  }
}

Imported import(const Checkpoint& file, const ImportOptions&) {
  const Value* generator = find_generator(file.root());
  if (generator == nullptr) {
    refuse(file.path() + " holds no generator of NVIDIA's PyTorch code.", "Give a network-snapshot .pkl.");
  }
  TensorMap tensors;
  std::size_t visited = 0;
  collect(*generator, "", tensors, 0, visited);
  Imported imported = begin_import("stylegan2", kFormat, read_sizes(*generator, tensors));
  supply_noise(imported, tensors);
  // Every layer has a filter; those that do not up-sample do not use it.
  std::erase_if(tensors, [](const auto& one) {
    return one.first.ends_with(".conv1.resample_filter") || one.first == "synthesis.b4.resample_filter";
  });
  if (&file.root() != generator) {
    for (std::string& key : other_keys(file.root(), {})) {
      if (find_any(file.root(), {key.c_str()}) != generator) imported.ignored.push_back(std::move(key));
    }
  }
  take_tensors(imported, std::move(tensors), source);
  return imported;
}

}  // namespace

std::vector<Importer> nvidia_torch_importers() { return {{"generator", kFormat, recognises, import}}; }

}  // namespace styleclip::importing
