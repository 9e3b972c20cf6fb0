// StyleGAN2 out of NVIDIA's TensorFlow pickles, (G, D, Gs): three states of dnnlib.tflib.network.Network, each with its
// constructor's keywords and its variables as NumPy arrays (reference notes H.5). Gs, the running average, is taken.
// Convolutions are stored [height, width, in, out], those that up-sample turned round; styles lack their bias of 1.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>

#include <charconv>
#include <functional>
#include <map>
#include <utility>

#include "importing/conversion.h"

namespace styleclip::importing {
namespace {

constexpr const char* kFormat = "NVIDIA StyleGAN2 (TensorFlow pickle)";
constexpr const char* kNetwork = "tflib.network.Network";
constexpr int kDeepest = 8;          // of components in components; a generator has 2
constexpr std::size_t kMost = 1000;  // components; a generator has 3. A file may name one many times.

bool is_network(const Value& value) {
  return value.is(Value::Kind::Object) && value.class_name().ends_with(kNetwork) && value.find("variables") != nullptr;
}

// Gs of a tuple of three, or a network on its own.
const Value* find_generator(const Value& root) {
  const Value* network = &root;
  if (root.is(Value::Kind::Tuple) && root.items().size() == 3) network = &root.items()[2];
  if (!is_network(*network)) return nullptr;
  const Value* components = find_any(*network, {"components"});
  return components != nullptr && find_any(*components, {"synthesis"}) != nullptr ? network : nullptr;
}

bool recognises(const Checkpoint& file) { return find_generator(file.root()) != nullptr; }

using Variables = std::map<std::string, Value>;  // Tensors and Floats

// Variables under "component/name".
void collect(const Value& network, const std::string& prefix, Variables& found, int depth, std::size_t& visited) {
  if (depth > kDeepest || ++visited > kMost) {
    refuse("There are too many components, or they are nested too deeply, at '" + prefix + "'.",
           "The file is no generator.");
  }
  const Value* variables = find_any(network, {"variables"});
  if (variables != nullptr && (variables->is(Value::Kind::List) || variables->is(Value::Kind::Tuple))) {
    for (const Value& pair : variables->items()) {
      const bool two = (pair.is(Value::Kind::Tuple) || pair.is(Value::Kind::List)) && pair.items().size() == 2;
      if (!two || !pair.items()[0].is(Value::Kind::String)) continue;
      const Value& value = pair.items()[1];
      const bool number = value.is(Value::Kind::Tensor) || value.is(Value::Kind::Float);
      if (number) found.insert_or_assign(prefix + pair.items()[0].text(), value);
    }
  }
  const Value* components = find_any(network, {"components"});
  if (components == nullptr || !components->is(Value::Kind::Dict)) return;
  for (const auto& [name, part] : components->entries()) {
    if (name.is(Value::Kind::String)) collect(part, prefix + name.text() + "/", found, depth + 1, visited);
  }
}

// The constructor's keywords, with the defaults of the code that reads such files.
class Keywords {
 public:
  explicit Keywords(const Value& network) {
    if (const Value* found = find_any(network, {"static_kwargs"})) keywords_ = *found;
  }
  std::optional<double> number(const char* name) const { return number_field(keywords_, name); }
  void need_text(const char* name, const std::string& wanted) const {
    const std::string value = text_field(keywords_, name).value_or(wanted);
    if (value != wanted) unsupported(name, "'" + value + "'", "'" + wanted + "'");
  }
  void need_number(const char* name, double wanted) const {
    const double value = number(name).value_or(wanted);
    if (value != wanted) unsupported(name, nlohmann::json(value).dump(), nlohmann::json(wanted).dump());
  }
  /// resample_kernel as a tensor; undefined: the usual one.
  at::Tensor filter() const {
    const Value* found = find_any(keywords_, {"resample_kernel"});
    if (found == nullptr) return {};
    if (found->is(Value::Kind::Tensor)) return found->tensor();
    std::vector<double> taps;
    if (found->is(Value::Kind::List) || found->is(Value::Kind::Tuple)) {
      for (const Value& tap : found->items()) taps.push_back(tap.number());
    }
    return taps.empty() ? at::Tensor() : at::tensor(taps, at::kDouble);
  }

 private:
  [[noreturn]] static void unsupported(const char* name, const std::string& value, const std::string& wanted) {
    refuse("The network was made with " + std::string(name) + " " + value + "; only " + wanted + " is supported.",
           "This variant of StyleGAN2 cannot be imported; the standard configurations can.");
  }
  Value keywords_;
};

std::string block_name(std::int64_t size) { return "synthesis/" + std::to_string(size) + "x" + std::to_string(size); }

nlohmann::json read_sizes(const Value& network, const TensorMap& tensors) {
  const Keywords keywords(network);
  keywords.need_text("architecture", "skip");
  keywords.need_text("nonlinearity", "lrelu");
  keywords.need_text("mapping_nonlinearity", "lrelu");
  keywords.need_number("normalize_latents", 1);
  keywords.need_number("num_channels", 3);
  nlohmann::json config;
  std::int64_t layers = 0;
  while (tensors.contains("mapping/Dense" + std::to_string(layers) + "/weight")) ++layers;
  std::int64_t z_width = size_of(tensors, "mapping/Dense0/weight", 0);
  if (tensors.contains("mapping/LabelEmbed/weight")) {
    config["label_width"] = size_of(tensors, "mapping/LabelEmbed/weight", 0);
    config["label_features"] = size_of(tensors, "mapping/LabelEmbed/weight", 1);
    z_width -= config["label_features"].get<std::int64_t>();
  }
  config["mapping_layers"] = layers;
  config["z_width"] = z_width;
  config["mapping_width"] = size_of(tensors, "mapping/Dense0/weight", 1);
  config["style_width"] = size_of(tensors, "mapping/Dense" + std::to_string(layers - 1) + "/weight", 1);
  config["mapping_lr_multiplier"] = keywords.number("mapping_lrmul").value_or(0.01);
  std::vector<std::int64_t> channels = {size_of(tensors, "synthesis/4x4/Const/const", 1)};
  for (std::int64_t size = 8; tensors.contains(block_name(size) + "/Conv1/weight") && size <= 1024; size *= 2) {
    channels.push_back(size_of(tensors, block_name(size) + "/Conv1/weight", 3));
  }
  config["channels"] = channels;
  config["image_size"] = std::int64_t{2} << channels.size();
  if (const auto clamp = keywords.number("conv_clamp")) config["conv_clamp"] = checked_clamp(*clamp);
  const double half = keywords.number("num_fp16_res").value_or(0);
  if (!(half >= 0 && half <= 16)) refuse("'num_fp16_res' is no number of resolutions.", "The file is damaged.");
  config["num_fp16_res"] = static_cast<std::int64_t>(half);
  return config;
}

// Sizes are looked at first, and numbers are taken one variable after another: in a pickle nearly all of them lie awkwardly,
// so that reading one is a copy, and nearly all have to be turned.
at::Tensor outline(const Value& value) {
  if (value.is(Value::Kind::Tensor)) return value.outline();
  return at::empty({}, at::TensorOptions(at::kFloat).device(at::kMeta));
}

at::Tensor taken(const Checkpoint& file, const Value& value,
                 const std::function<at::Tensor(const at::Tensor&)>& change) {
  if (value.is(Value::Kind::Float)) {
    const at::Tensor scalar = at::scalar_tensor(value.number(), at::kFloat);
    return change ? change(scalar) : scalar;
  }
  const at::Tensor& given = value.tensor();
  at::Tensor changed = change ? change(given) : given;
  if (!changed.is_alias_of(given)) file.release(given.const_data_ptr(), given.nbytes());
  value.forget_tensor();  // `given` is gone
  return changed;
}

at::Tensor plus_one(const at::Tensor& t) { return t + 1; }
at::Tensor transposed(const at::Tensor& t) { return t.t().contiguous(); }
at::Tensor convolution(const at::Tensor& t) { return t.permute({3, 2, 0, 1}).unsqueeze(0).contiguous(); }
at::Tensor turned_convolution(const at::Tensor& t) { return convolution(t.flip({0, 1})); }

Source layer_source(const std::string& path, const std::string& tail, bool up) {
  if (tail == "conv.weight") return {path + "/weight", 4, up ? turned_convolution : convolution};
  if (tail == "conv.modulation.weight") return {path + "/mod_weight", 2, transposed};
  if (tail == "conv.modulation.bias") return {path + "/mod_bias", 1, plus_one};
  if (tail == "noise.weight") return {path + "/noise_strength", 0, [](const at::Tensor& t) { return t.reshape({1}); }};
  if (tail == "activate.bias") return {path + "/bias"};
  if (tail == "bias") return {path + "/bias", 1, [](const at::Tensor& t) { return t.reshape({1, -1, 1, 1}); }};
  return {};
}

Source dense_source(const std::string& path, const std::string& tail) {
  if (tail == "weight") return {path + "/weight", 2, transposed};
  return {path + "/" + tail};
}

Source source(const std::string& name) {
  const auto rest = [&name](std::string_view prefix) { return name.substr(prefix.size()); };
  if (name == "latent_avg") return {"dlatent_avg"};
  if (name == "input.input") return {"synthesis/4x4/Const/const"};
  if (name.starts_with("embed.")) return dense_source("mapping/LabelEmbed", rest("embed."));
  if (name.starts_with("conv1.")) return layer_source("synthesis/4x4/Conv", rest("conv1."), false);
  if (name.starts_with("to_rgb1.")) return layer_source("synthesis/4x4/ToRGB", rest("to_rgb1."), false);
  if (name.starts_with("noises.noise_")) return {"synthesis/noise" + rest("noises.noise_")};
  const std::size_t open = name.find_first_of("0123456789");
  if (open == std::string::npos) return {};
  std::int64_t index = 0;
  const char* end = std::from_chars(name.data() + open, name.data() + name.size(), index).ptr;
  const std::string tail = end < name.data() + name.size() ? std::string(end + 1, name.data() + name.size()) : "";
  if (name.starts_with("style.")) return dense_source("mapping/Dense" + std::to_string(index - 1), tail);
  if (name.starts_with("to_rgbs.")) return layer_source(block_name(std::int64_t{8} << index) + "/ToRGB", tail, false);
  const bool up = index % 2 == 0;
  return layer_source(block_name(std::int64_t{8} << (index / 2)) + (up ? "/Conv0_up" : "/Conv1"), tail, up);
}

Imported import(const Checkpoint& file, const ImportOptions&) {
  const Value* network = find_generator(file.root());
  if (network == nullptr) {
    refuse(file.path() + " holds no generator of NVIDIA's TensorFlow code.", "Give a network pickle, (G, D, Gs).");
  }
  constexpr double kOldest = 4;  // StyleGAN2's; ProGAN's and StyleGAN's states are older and hold other networks
  const double version = number_field(*network, "version").value_or(0);
  if (version < kOldest) {
    refuse("The network's state is of version " + nlohmann::json(version).dump() + ", before StyleGAN2's.",
           "Only StyleGAN2 generators can be imported.");
  }
  Variables variables;
  std::size_t visited = 0;
  collect(*network, "", variables, 0, visited);
  TensorMap tensors;
  for (const auto& [name, value] : variables) tensors.emplace(name, outline(value));
  Imported imported = begin_import("stylegan2", kFormat, read_sizes(*network, tensors));
  if (network != &file.root()) imported.ignored = {"G", "D"};
  if (const at::Tensor filter = Keywords(*network).filter(); filter.defined()) {
    const at::Tensor kernel = up_kernel(filter, "resample_kernel");
    const std::size_t blocks = imported.config["channels"].size() - 1;
    for (std::size_t i = 0; i < blocks; ++i) {
      imported.weights["convs." + std::to_string(2 * i) + ".conv.blur.kernel"] = kernel;
      imported.weights["to_rgbs." + std::to_string(i) + ".upsample.kernel"] = kernel;
    }
  }
  std::erase_if(tensors, [&imported](const auto& one) {  // state of the training
    const bool counter = one.first == "lod" || one.first == "synthesis/lod" || one.first == "pl_mean";
    if (counter) imported.ignored.push_back(one.first);
    return counter;
  });
  take_tensors(imported, std::move(tensors), [&](const std::string& name) {
    Source from = source(name);
    const auto found = variables.find(from.name);
    if (found == variables.end()) return from;
    from.change = [&file, &value = found->second, change = from.change](const at::Tensor&) {
      return taken(file, value, change);
    };
    return from;
  });
  return imported;
}

}  // namespace

std::vector<Importer> nvidia_tensorflow_importers() { return {{"generator", kFormat, recognises, import}}; }

}  // namespace styleclip::importing
