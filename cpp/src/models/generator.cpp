// The generator: sampling, truncation, StyleSpace in and out. A foreign module with mapping, styles and synthesis works
// too; what its description does not say is read from attributes, or found by running `styles` once (docs/models.md).
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <bit>
#include <cmath>
#include <utility>

#include "models/model_impl.h"
#include "runtime/philox.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr std::int64_t kAverageSamples = 4096;  // StyleCLIP's mean_latent(4096)

at::Tensor draw_z(std::int64_t count, std::int64_t width, std::uint64_t seed, std::int64_t first) {
  at::Tensor z = at::empty({count, width}, at::kFloat);
  float* out = z.data_ptr<float>();
  at::parallel_for(0, count, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      philox_normal(out + i * width, width, seed, static_cast<std::uint32_t>(PhiloxStream::Z),
                    static_cast<std::uint64_t>(first + i));
    }
  });
  return z;
}

// Layers as styleclip.json lists them; everything else of the layout follows.
StyleLayout described_layout(const LoadedModule& module) {
  const auto bad = [&module]() -> Error {
    return {ErrorCode::FileDamaged, module.path + ": styleclip.json has no usable list of layers.",
            "Make the archive again."};
  };
  if (!module.json.contains("layers") || !module.json["layers"].is_array()) throw bad();
  StyleLayout layout;
  layout.rows = module.integer("rows", {}, std::nullopt);
  std::int64_t offset = 0;
  for (const nlohmann::json& one : module.json["layers"]) {
    StyleLayer layer;
    try {
      layer = {.name = one.at("name").get<std::string>(),
               .resolution = one.at("resolution").get<std::int64_t>(),
               .channels = one.at("channels").get<std::int64_t>(),
               .to_rgb = one.at("type").get<std::string>() == "torgb",
               .w_row = one.at("w_row").get<std::int64_t>(),
               .offset = offset};
    } catch (const nlohmann::json::exception&) {
      throw bad();
    }
    if (layer.channels < 1 || layer.resolution < 1 || layer.w_row < 0 || layer.w_row >= layout.rows) throw bad();
    offset += layer.channels;
    layout.layers.push_back(std::move(layer));
  }
  if (layout.layers.empty()) throw bad();
  return layout;
}

// A foreign module's layers: those of StyleGAN2 where their number and the picture size fit it, else plain
// convolutions.
StyleLayout probed_layout(const LoadedModule& module, std::int64_t rows, std::int64_t w_dim, std::int64_t image_size) {
  const c10::IValue value = module.call("styles", {at::zeros({1, rows, w_dim}, module.place)});
  if (!value.isTensorList()) {
    throw Error(ErrorCode::ModelMismatch, "'styles' of " + module.path + " gives no list of tensors.",
                "It has to give one tensor [n, channels] for each layer.");
  }
  const std::vector<at::Tensor> styles = value.toTensorVector();
  const std::int64_t count = static_cast<std::int64_t>(styles.size());
  const bool power = image_size >= 8 && std::has_single_bit(static_cast<std::uint64_t>(image_size));
  const std::int64_t blocks = std::bit_width(static_cast<std::uint64_t>(image_size)) - 3;
  const bool stylegan2 = power && count == 3 * blocks + 2 && rows == 2 * blocks + 2;
  StyleLayout layout;
  layout.rows = rows;
  if (stylegan2) {
    layout = StyleLayout::stylegan2(image_size, std::vector<std::int64_t>(static_cast<std::size_t>(blocks + 1), 1));
  }
  std::int64_t offset = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (styles[i].dim() != 2 || styles[i].size(1) < 1) {
      throw Error(ErrorCode::ModelMismatch,
                  "'styles' of " + module.path + " gives a tensor of shape " + shape_text(styles[i].sizes()) + ".",
                  "It has to give one tensor [n, channels] for each layer.");
    }
    if (!stylegan2) {
      layout.layers.push_back(
          {.name = "layer" + std::to_string(i), .resolution = image_size, .w_row = std::min(i, rows - 1)});
    }
    layout.layers[i].channels = styles[i].size(1);
    layout.layers[i].offset = offset;
    offset += layout.layers[i].channels;
  }
  if (layout.layers.empty()) {
    throw Error(ErrorCode::ModelMismatch, "'styles' of " + module.path + " gives an empty list.",
                "It has to give one tensor for each layer.");
  }
  return layout;
}

}  // namespace

struct Generator::State {
  StyleLayout layout;
  std::int64_t z_dim = 0, w_dim = 0, image_size = 0, label_dim = 0;
  at::Tensor average;  // [w_dim] float32 on the model's device
};

Generator::Generator(std::unique_ptr<Impl> impl, std::unique_ptr<State> state)
    : Model(std::move(impl)), state_(std::move(state)) {}
Generator::~Generator() = default;

std::shared_ptr<Generator> Generator::load(const std::string& path, const LoadOptions& options) {
  auto impl = std::make_unique<Impl>(load_module_file(path, options, "generator"));
  impl->need_methods({"mapping", "styles", "synthesis"});
  const c10::InferenceMode guard(false);
  auto state = std::make_unique<State>();
  state->z_dim = impl->integer("z_width", {"z_dim"}, std::nullopt);
  state->w_dim = impl->integer("style_width", {"w_dim"}, state->z_dim);
  state->image_size = impl->integer("image_size", {"image_size", "img_resolution"}, std::nullopt);
  const bool conditional = impl->module.get_method("mapping").function().getSchema().arguments().size() > 2;
  if (conditional) state->label_dim = impl->integer("label_width", {"label_dim", "c_dim"}, std::nullopt);
  if (impl->foreign()) {
    const std::int64_t rows = impl->integer("", {"rows", "num_ws", "n_latent"}, std::nullopt);
    state->layout = probed_layout(*impl, rows, state->w_dim, state->image_size);
  } else {
    state->layout = described_layout(*impl);
  }
  if (impl->module.hasattr("latent_avg") && impl->module.attr("latent_avg").isTensor()) {
    state->average = impl->module.attr("latent_avg").toTensor().to(at::kFloat);
  } else {
    std::vector<c10::IValue> inputs = {draw_z(kAverageSamples, state->z_dim, 0, 0).to(impl->place)};
    if (conditional) inputs.emplace_back(every_label(kAverageSamples, state->label_dim).to(impl->place));
    state->average = impl->tensor("mapping", std::move(inputs)).mean(0);
  }
  if (state->average.numel() != state->w_dim) {
    throw Error(ErrorCode::ModelMismatch,
                path + ": the mean of w has " + std::to_string(state->average.numel()) + " numbers, not " +
                    std::to_string(state->w_dim) + ".",
                "Make the archive again.");
  }
  state->average = state->average.reshape({state->w_dim});
  return std::shared_ptr<Generator>(new Generator(std::move(impl), std::move(state)));
}

const StyleLayout& Generator::layout() const { return state_->layout; }
std::int64_t Generator::z_dim() const { return state_->z_dim; }
std::int64_t Generator::w_dim() const { return state_->w_dim; }
std::int64_t Generator::label_dim() const { return state_->label_dim; }
std::int64_t Generator::image_size() const { return state_->image_size; }

at::Tensor Generator::sample_z(std::int64_t count, std::uint64_t seed, std::int64_t first) const {
  if (count < 1 || first < 0) {
    throw Error(ErrorCode::Range,
                "Cannot draw " + std::to_string(count) + " samples from number " + std::to_string(first) + ".",
                "Give a count of at least 1 and a first sample of at least 0.");
  }
  return draw_z(count, state_->z_dim, seed, first);
}

at::Tensor Generator::sample_labels(std::int64_t count, std::int64_t first) const {
  if (state_->label_dim == 0) return {};
  return every_label(count, state_->label_dim, first);
}

at::Tensor Generator::mapping(const at::Tensor& z) { return mapping(z, {}); }

at::Tensor Generator::mapping(const at::Tensor& z, const at::Tensor& labels) {
  const std::int64_t width = state_->label_dim;
  std::vector<c10::IValue> inputs = {impl_->input(z, {state_->z_dim}, "z")};
  if (labels.defined() != (width > 0)) {
    throw Error(ErrorCode::Argument,
                width > 0 ? impl_->path + " is conditional: it needs a label of " + std::to_string(width) +
                                " numbers for each sample."
                          : impl_->path + " is not conditional: it takes no labels.",
                width > 0 ? "Give labels of shape [n, " + std::to_string(width) + "], one-hot for a class."
                          : "Leave the labels out.");
  }
  if (width > 0) {
    const at::Tensor given = impl_->input(labels, {width}, "labels");
    if (given.size(0) != z.size(0)) {
      throw Error(ErrorCode::Shape,
                  std::to_string(given.size(0)) + " labels for " + std::to_string(z.size(0)) + " samples.",
                  "Give one label for each sample.");
    }
    inputs.emplace_back(given);
  }
  return impl_->tensor("mapping", std::move(inputs));
}

at::Tensor Generator::truncate(const at::Tensor& w, double psi, std::int64_t cutoff) const {
  if (!std::isfinite(psi)) {
    throw Error(ErrorCode::Range, "The truncation psi is no finite number.", "Give a number, usually from 0 to 1.");
  }
  const at::Tensor given = impl_->input(w, {state_->w_dim}, "w");
  const std::int64_t rows = state_->layout.rows;
  const std::int64_t cut = cutoff < 0 ? rows : std::min(cutoff, rows);
  const at::Tensor truncated = state_->average + psi * (given - state_->average);
  const auto repeat = [](const at::Tensor& one, std::int64_t times) {
    return one.unsqueeze(1).expand({one.size(0), times, one.size(1)});
  };
  return at::cat({repeat(truncated, cut), repeat(given, rows - cut)}, 1);
}

at::Tensor Generator::styles(const at::Tensor& w_plus) {
  const at::Tensor given = impl_->input(w_plus, {state_->layout.rows, state_->w_dim}, "w_plus");
  const c10::IValue value = impl_->call("styles", {given});
  if (!value.isTensorList()) {
    throw Error(ErrorCode::ModelMismatch, "'styles' of " + impl_->path + " gives no list of tensors.",
                "It has to give one tensor [n, channels] for each layer.");
  }
  return state_->layout.flatten(value.toTensorVector()).to(at::kFloat);
}

at::Tensor Generator::synthesis(const at::Tensor& s, NoiseMode noise, std::uint64_t noise_seed, std::int64_t first) {
  const at::Tensor given = impl_->input(s, {state_->layout.total()}, "S");
  const c10::List<at::Tensor> styles(state_->layout.unflatten(given));
  if (noise == NoiseMode::Const) return impl_->tensor("synthesis", {styles});

  if (!impl_->module.find_method("synthesis_noise")) {
    throw Error(ErrorCode::Argument, impl_->path + " has no method 'synthesis_noise'.",
                "Use noise 'const' with this module.");
  }
  c10::List<at::Tensor> maps;
  std::uint32_t stream = static_cast<std::uint32_t>(PhiloxStream::Noise);
  for (const StyleLayer& layer : state_->layout.layers) {
    if (layer.to_rgb) continue;
    const bool random = noise == NoiseMode::Random;
    const std::int64_t side = random ? layer.resolution : 1;
    at::Tensor map = at::zeros({random ? given.size(0) : 1, 1, side, side});
    for (std::int64_t i = 0; random && i < map.size(0); ++i) {
      philox_normal(map.data_ptr<float>() + i * side * side, side * side, noise_seed, stream,
                    static_cast<std::uint64_t>(first + i));
    }
    ++stream;
    maps.push_back(map.to(impl_->place));
  }
  return impl_->tensor("synthesis_noise", {styles, maps});
}

at::Tensor Generator::synthesis(const at::Tensor& s, const std::vector<at::Tensor>& noise) {
  const at::Tensor given = impl_->input(s, {state_->layout.total()}, "S");
  if (!impl_->module.find_method("synthesis_noise")) {
    throw Error(ErrorCode::Argument, impl_->path + " has no method 'synthesis_noise'.",
                "Noise maps cannot be given to this module.");
  }
  const std::vector<std::int64_t> sizes = noise_sizes();
  bool fits = noise.size() == sizes.size();
  c10::List<at::Tensor> maps;
  for (std::size_t i = 0; fits && i < sizes.size(); ++i) {
    const at::Tensor& map = noise[i];
    fits = map.dim() == 4 && (map.size(0) == 1 || map.size(0) == given.size(0)) && map.size(1) == 1 &&
           map.size(2) == sizes[i] && map.size(3) == sizes[i];
    if (fits) maps.push_back(map.to(impl_->place, at::kFloat));
  }
  if (!fits) {
    throw Error(ErrorCode::Shape, "The noise maps are not those of " + impl_->path + ".",
                "Give one [1 or n, 1, r, r] for each of its " + std::to_string(sizes.size()) + " convolutions.");
  }
  return impl_->tensor("synthesis_noise", {c10::List<at::Tensor>(state_->layout.unflatten(given)), maps});
}

std::vector<std::int64_t> Generator::noise_sizes() const {
  std::vector<std::int64_t> sizes;
  for (const StyleLayer& layer : state_->layout.layers) {
    if (!layer.to_rgb) sizes.push_back(layer.resolution);
  }
  return sizes;
}

}  // namespace styleclip
