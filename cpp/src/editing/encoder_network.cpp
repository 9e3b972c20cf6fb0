// See encoder_network.h; the structure is blueprint_ir_se.cpp's, the arithmetic that of torchscript/e4e and ir_se_block.
#include "editing/encoder_network.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/prelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr double kMomentum = 0.1, kEpsilon = 1e-5, kHeadSlope = 0.01;

bool is_statistic(const std::string& name) {
  return name.ends_with(".running_mean") || name.ends_with(".running_var") || name.ends_with(".num_batches_tracked") ||
         name == "latent_avg";
}

}  // namespace

EncoderNetwork::EncoderNetwork(const Encoder& encoder) {
  const auto json = nlohmann::json::parse(encoder.description().json);
  if (json.value("architecture", "") != "e4e") {
    throw Error(ErrorCode::ModelMismatch, "The encoder is no e4e archive of this package: it cannot be trained.",
                "Make one with `styleclip make e4e`.");
  }
  const nlohmann::json& config = json.at("config");
  config_ = config.dump();
  blocks_ = config.at("blocks").get<std::vector<std::int64_t>>();
  channels_ = config.at("channels").get<std::vector<std::int64_t>>();
  reduction_ = config.at("reduction").get<std::int64_t>();
  rows_ = config.at("rows").get<std::int64_t>();
  width_ = config.at("style_width").get<std::int64_t>();
  offsets_ = config.at("structure").get<std::string>() == "e4e";
  image_width_ = encoder.image_size();
  image_height_ = encoder.image_height();
  for (const auto& [name, tensor] : encoder.tensors()) {
    const bool number = tensor.is_floating_point();
    tensors_[name] = number ? tensor.detach().to(at::kFloat).clone() : tensor.detach().clone();
    if (!is_statistic(name)) trained_.push_back(name);
  }
}

struct EncoderNetwork::Pass {
  const EncoderNetwork& network;
  Statistics* statistics;
  at::ScalarType type;

  const at::Tensor& at(const std::string& name) const { return network.tensors_.at(name); }

  at::Tensor convolve(const at::Tensor& x, const std::string& name, std::int64_t stride, std::int64_t padding,
                      bool bias = false) const {
    return at::conv2d(x.to(type), at(name + ".weight").to(type), bias ? at(name + ".bias").to(type) : at::Tensor(),
                      at::IntArrayRef{stride, stride}, at::IntArrayRef{padding, padding});
  }

  at::Tensor normalise(const at::Tensor& x, const std::string& name) const {
    at::Tensor mean = at(name + ".running_mean"), variance = at(name + ".running_var");
    if (statistics != nullptr) {
      mean = (*statistics)[name + ".running_mean"] = mean.clone();
      variance = (*statistics)[name + ".running_var"] = variance.clone();
    }
    return at::batch_norm(x, at(name + ".weight"), at(name + ".bias"), mean, variance, statistics != nullptr, kMomentum,
                          kEpsilon, true);
  }

  at::Tensor block(const at::Tensor& x, const std::string& name, bool wide, std::int64_t stride) const {
    const std::string main = name + ".res_layer";
    at::Tensor y = normalise(x, main + ".0");
    y = at::prelu(convolve(y, main + ".1", 1, 1), at(main + ".2.weight").to(type));
    y = normalise(convolve(y, main + ".3", stride, 1), main + ".4");
    if (network.reduction_ > 0) {
      const at::Tensor s = at::relu(convolve(y.mean({2, 3}, true), main + ".5.fc1", 1, 0));
      y = y * at::sigmoid(convolve(s, main + ".5.fc2", 1, 0));
    }
    if (wide) return y + normalise(convolve(x, name + ".shortcut_layer.0", stride, 0), name + ".shortcut_layer.1");
    return y + x.slice(2, 0, std::nullopt, stride).slice(3, 0, std::nullopt, stride);
  }

  at::Tensor head(at::Tensor x, const std::string& name) const {
    for (std::int64_t i = 0;; i += 2) {
      const std::string layer = name + ".convs." + std::to_string(i);
      if (!network.tensors_.contains(layer + ".weight")) break;
      x = at::leaky_relu(convolve(x, layer, 2, 1, true), kHeadSlope);
    }
    const at::Tensor& weight = at(name + ".linear.weight");
    const double scale = 1 / std::sqrt(static_cast<double>(weight.size(1)));
    return at::linear(x.flatten(1).to(at::kFloat), weight * scale, at(name + ".linear.bias"));
  }

  at::Tensor upsampled(const at::Tensor& coarse, const at::Tensor& finer, const std::string& lateral) const {
    const at::Tensor side = convolve(finer, lateral, 1, 0, true);
    return at::upsample_bilinear2d(coarse, at::IntArrayRef{side.size(2), side.size(3)}, true) + side;
  }
};

at::Tensor EncoderNetwork::forward(const at::Tensor& images, Statistics* statistics, at::ScalarType type) const {
  const Pass pass{*this, statistics, type};
  at::Tensor x = images.to(type).contiguous(at::MemoryFormat::ChannelsLast);
  x = pass.normalise(pass.convolve(x, "input_layer.0", 1, 1), "input_layer.1");
  x = at::prelu(x, tensors_.at("input_layer.2.weight").to(type));
  std::vector<at::Tensor> stages;
  std::int64_t index = 0, inputs = channels_[0];
  for (std::size_t stage = 0; stage < blocks_.size(); ++stage) {
    for (std::int64_t i = 0; i < blocks_[stage]; ++i, ++index) {
      x = pass.block(x, "body." + std::to_string(index), inputs != channels_[stage], i == 0 ? 2 : 1);
      inputs = channels_[stage];
    }
    stages.push_back(x);
  }
  const at::Tensor& coarse = stages[3];
  const at::Tensor middle = pass.upsampled(coarse, stages[2], "latlayer1");
  const at::Tensor fine = pass.upsampled(middle, stages[1], "latlayer2");
  std::vector<at::Tensor> codes;
  for (std::int64_t row = 0; row < rows_; ++row) {
    at::Tensor code = pass.head(row < 3 ? coarse : row < 7 ? middle : fine, "styles." + std::to_string(row));
    if (offsets_ && row > 0) code = codes.front() + code;
    codes.push_back(std::move(code));
  }
  return at::stack(codes, 1) + tensors_.at("latent_avg");
}

}  // namespace styleclip
