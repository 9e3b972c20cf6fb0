// Reading the network; names as in rosinality/stylegan2-pytorch, model.py.
#include "relevance/exact/network.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/outer.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/philox.h"

namespace styleclip::exact {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

// Float32, contiguous; undefined where there is no such tensor.
at::Tensor take(const Tensors& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  return found == tensors.end() ? at::Tensor() : found->second.detach().to(at::kFloat).contiguous();
}

// A [4, 4] filter as outer(line, line): the line, or undefined for one that is not.
at::Tensor separate(const at::Tensor& filter) {
  if (!filter.defined() || filter.dim() != 2 || filter.size(0) != 4 || filter.size(1) != 4) return {};
  const at::Tensor wide = filter.to(at::kDouble);
  const at::Tensor line = wide.sum(1) / wide.sum().sqrt();
  return at::outer(line, line).allclose(wide, 1e-6, 1e-9) ? line.to(at::kFloat) : at::Tensor();
}

// Where a layer of the layout stands in the state dict: "conv1", "to_rgb1", then three a block.
std::string module_name(std::size_t layer) {
  if (layer == 0) return "conv1";
  if (layer == 1) return "to_rgb1";
  const std::size_t block = (layer - 2) / 3, place = (layer - 2) % 3;
  if (place == 2) return "to_rgbs." + std::to_string(block);
  return "convs." + std::to_string(2 * block + place);
}

std::optional<Conv> read_conv(const Tensors& tensors, const StyleLayout& layout, std::size_t layer, std::size_t number,
                              bool scaled_demodulation, Weights weights) {
  const std::string name = module_name(layer);
  const at::Tensor weight = take(tensors, name + ".conv.weight");
  const at::Tensor bias = take(tensors, name + ".activate.bias");
  if (!weight.defined() || weight.dim() != 5 || weight.size(3) != 3 || !bias.defined()) return std::nullopt;
  Conv conv;
  conv.layer = static_cast<std::int64_t>(layer);
  conv.outputs = weight.size(1);
  conv.inputs = weight.size(2);
  conv.resolution = layout.layers[layer].resolution;
  conv.up = number > 0 && number % 2 == 1;
  const double scale = 1 / std::sqrt(9.0 * static_cast<double>(conv.inputs));
  if (weights == Weights::Scaled) {
    conv.weight = (weight[0] * scale).contiguous();
    conv.power = conv.weight.square().sum({2, 3});
  } else {
    conv.weight = weight[0];
    conv.scale = scale;
    conv.power = conv.weight.square().sum({2, 3}) * (scale * scale);
  }
  conv.bias = bias;
  conv.epsilon = scaled_demodulation ? 1e-8 : 1e-8 * scale * scale;
  const at::Tensor strength = take(tensors, name + ".noise.weight");
  const at::Tensor map = take(tensors, "noises.noise_" + std::to_string(number));
  if (strength.defined()) conv.strength = strength.item<float>();
  if (map.defined() && conv.strength != 0) conv.noise = (map.flatten(0, 2) * strength).contiguous();
  if (conv.up) {
    conv.filter = separate(take(tensors, name + ".conv.blur.kernel"));
    if (!conv.filter.defined()) return std::nullopt;
    conv.filter = conv.filter.flip(0).contiguous();
  }
  return conv;
}

std::optional<ToRgb> read_to_rgb(const Tensors& tensors, const StyleLayout& layout, std::size_t layer) {
  const std::string name = module_name(layer);
  const at::Tensor weight = take(tensors, name + ".conv.weight");
  const at::Tensor bias = take(tensors, name + ".bias");
  if (!weight.defined() || weight.dim() != 5 || weight.size(1) != 3 || weight.size(3) != 1 || !bias.defined()) {
    return std::nullopt;
  }
  ToRgb to_rgb;
  to_rgb.layer = static_cast<std::int64_t>(layer);
  to_rgb.inputs = weight.size(2);
  to_rgb.resolution = layout.layers[layer].resolution;
  to_rgb.weight = (weight[0].flatten(1) / std::sqrt(static_cast<double>(to_rgb.inputs))).contiguous();
  to_rgb.bias = bias.flatten();
  if (layer > 1) {
    to_rgb.filter = separate(take(tensors, name + ".upsample.kernel"));
    if (!to_rgb.filter.defined()) return std::nullopt;
  }
  return to_rgb;
}

}  // namespace

std::optional<Network> read_network(Generator& generator, Weights weights) {
  const nlohmann::json description = nlohmann::json::parse(generator.description().json, nullptr, false);
  if (!description.is_object() || description.value("architecture", "") != "stylegan2") return std::nullopt;
  const nlohmann::json config = description.value("config", nlohmann::json::object());
  const bool scaled_demodulation = config.value("demodulation", std::string("scaled")) == "scaled";

  const Tensors tensors = generator.tensors();
  const StyleLayout& layout = generator.layout();
  Network network;
  network.image_size = generator.image_size();
  if (config.contains("conv_clamp") && config["conv_clamp"].is_number()) {
    network.clamp = config["conv_clamp"].get<double>();
  }
  const at::Tensor input = take(tensors, "input.input");
  if (!input.defined()) return std::nullopt;
  network.input = input[0];
  for (std::size_t layer = 0; layer < layout.layers.size(); ++layer) {
    if (layout.layers[layer].to_rgb) {
      std::optional<ToRgb> to_rgb = read_to_rgb(tensors, layout, layer);
      if (!to_rgb) return std::nullopt;
      network.to_rgbs.push_back(std::move(*to_rgb));
    } else {
      std::optional<Conv> conv = read_conv(tensors, layout, layer, network.convs.size(), scaled_demodulation, weights);
      if (!conv) return std::nullopt;
      network.convs.push_back(std::move(*conv));
    }
  }
  return network;
}

std::vector<at::Tensor> noise_of(const Network& network, NoiseMode noise, std::uint64_t seed, std::int64_t picture) {
  std::vector<at::Tensor> maps;
  auto stream = static_cast<std::uint32_t>(PhiloxStream::Noise);
  for (const Conv& conv : network.convs) {
    at::Tensor map;
    if (noise == NoiseMode::Const) map = conv.noise;
    if (noise == NoiseMode::Random && conv.strength != 0) {
      map = at::empty({conv.resolution, conv.resolution}, at::kFloat);
      philox_normal(map.data_ptr<float>(), map.numel(), seed, stream, static_cast<std::uint64_t>(picture));
      map = map.to(network.input.device()) * conv.strength;
    }
    maps.push_back(map);
    ++stream;
  }
  return maps;
}

}  // namespace styleclip::exact
