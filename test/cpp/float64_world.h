// The tests' models in float64: the archives' own code and weights, with every number in float64; and how far from that
// their float32 may be.
#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/jit/api/module.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "models/build.h"
#include "models/preprocess.h"
#include "models/spec.h"
#include "rounding.h"
#include "styleclip/models.h"
#include "tiny_world.h"

namespace float64 {

using Tensors = std::vector<at::Tensor>;

inline at::Tensor wide(const at::Tensor& tensor) { return tensor.detach().to(at::kDouble); }

/// The code of an architecture's archives on copies of a model's weights, all in float64. Gradients go through it.
class Network {
 public:
  Network(const char* architecture, const std::string& config, const tiny::Weights& weights)
      : module_(made(architecture, config, weights)) {
    for (auto& [name, tensor] : styleclip::module_tensors(module_)) {
      if (!tensor.is_floating_point() || tensor.numel() == 0) continue;
      tensor.requires_grad_(false);
      weights_.push_back(tensor);
      stored_.push_back(tensor.clone());
      if (tensor.dim() < 2) continue;
      // Terms of the sums that a matrix or a convolution takes part in, there and back.
      const std::int64_t first = tensor.dim() == 5 ? 1 : 0;
      for (const std::int64_t axis : {first, first + 1}) {
        terms_ = std::max(terms_, static_cast<double>(tensor.numel() / tensor.size(axis)));
      }
    }
  }

  c10::IValue run(const std::string& method, std::vector<c10::IValue> inputs) const {
    return module_.get_method(method)(std::move(inputs));
  }
  at::Tensor operator()(const std::string& method, std::vector<c10::IValue> inputs) const {
    at::Tensor result = run(method, std::move(inputs)).toTensor();
    REQUIRE((result.scalar_type() == at::kDouble));
    return result;
  }

  /// Of the longest sum with its weights.
  double terms() const { return terms_; }
  /// Every weight becomes what is stored times 1 + by · a random number, N(0, 1).
  void move(double by, at::Generator& engine) {
    const at::NoGradGuard off;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      weights_[i].copy_(stored_[i] * (1 + by * at::randn(stored_[i].sizes(), engine, at::kDouble)));
    }
  }

 private:
  static torch::jit::Module made(const char* architecture, const std::string& config, const tiny::Weights& weights) {
    styleclip::Blueprint blueprint = styleclip::make_blueprint(architecture, config);
    for (auto& [path, code] : blueprint.code) {
      const std::string single = ".float()", twice = ".double()";
      for (std::size_t at = 0; (at = code.source.find(single, at)) != std::string::npos; at += twice.size()) {
        code.source.replace(at, single.size(), twice);
      }
    }
    styleclip::TensorMap tensors;
    for (const auto& [name, tensor] : weights) {
      tensors[name] = tensor.is_floating_point() ? tensor.detach().to(at::kDouble, false, true) : tensor;
    }
    torch::jit::Module module = styleclip::build_module(blueprint, tensors);
    module.eval();
    return module;
  }

  mutable torch::jit::Module module_;
  Tensors weights_, stored_;  // the module's own tensors; copies
  double terms_ = 1;
};

class Generator : public Network {
 public:
  Generator(const std::string& config, const styleclip::Generator& model)
      : Network("stylegan2", config, model.tensors()), layout_(model.layout()) {}

  /// w_plus [n, rows, width] -> S [n, total]
  at::Tensor styles(const at::Tensor& w_plus) const {
    return layout_.flatten(run("styles", {w_plus}).toTensorVector());
  }
  /// S -> pictures, with the stored noise maps or with these.
  at::Tensor synthesis(const at::Tensor& s) const {
    return (*this)("synthesis", {c10::List<at::Tensor>(layout_.unflatten(s))});
  }
  at::Tensor synthesis(const at::Tensor& s, const Tensors& maps) const {
    return (*this)("synthesis_noise", {c10::List<at::Tensor>(layout_.unflatten(s)), c10::List<at::Tensor>(maps)});
  }

 private:
  styleclip::StyleLayout layout_;
};

/// A CLIP model with OpenAI's mean and standard deviation.
class Clip : public Network {
 public:
  Clip(const std::string& config, const styleclip::Clip& model)
      : Network("clip", config, model.tensors()), size_(model.image_size()) {}

  at::Tensor embedding_of_input(const at::Tensor& input) const { return (*this)("encode_image", {input}); }
  /// Pictures in [-1, 1], preprocessed on floats.
  at::Tensor embedding(const at::Tensor& images) const {
    return embedding_of_input(styleclip::preprocess_float(images, size_, {0.48145466, 0.4578275, 0.40821073},
                                                          {0.26862954, 0.26130258, 0.27577711}));
  }

 private:
  std::int64_t size_;
};

/// An identity network that takes pictures as they are, or pooled to its size.
class Identity : public Network {
 public:
  Identity(const std::string& config, const styleclip::Identity& model)
      : Network("ir-se", config, model.tensors()), size_(model.image_size()) {}

  at::Tensor embed(const at::Tensor& images) const {
    return (*this)("embed", {at::adaptive_avg_pool2d(images, {size_, size_})});
  }

 private:
  std::int64_t size_;
};

/// What a computation ought to give, and how far from it each of its results may be where numbers are rounded.
struct Rounded {
  Tensors exact;
  std::vector<double> bounds;  // of each tensor: of any of its numbers
};

/// How far `compute`, which runs these networks, goes when every weight is moved by so much of itself, at random.
inline Rounded moved(std::initializer_list<Network*> networks, double by, const std::function<Tensors()>& compute) {
  constexpr int kDraws = 8;
  Rounded result{compute(), {}};
  result.bounds.assign(result.exact.size(), 0);
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(1);
  for (int draw = 0; draw < kDraws; ++draw) {
    for (Network* network : networks) network->move(by, engine);
    const Tensors results = compute();
    for (std::size_t i = 0; i < results.size(); ++i) {
      const double distance = (results[i] - result.exact[i]).abs().max().item<double>();
      result.bounds[i] = std::max(result.bounds[i], distance);
    }
  }
  for (Network* network : networks) network->move(0, engine);
  return result;
}

/// How far the same in float32 may be from it, if none of its sums has more than `terms` terms but those that the networks
/// know of.
///
/// float32 rounds each of n terms of a sum once, and so errs as much as if every term were off by √n roundoffs: errors add up
/// as independent ones do, and three times that bounds the largest. Moving every weight by so much at random is the same to
/// all sums, there and back. How far that takes the results, in float64, is what roundings may do to them, whatever makes them
/// large on the way: small differences of large numbers, lengths that are divided by, a leaky ReLU near its bend.
/// Sixteen more terms: style, gain, noise, bias, activation and other single steps of a layer.
inline Rounded rounded(std::initializer_list<Network*> networks, double terms,
                       const std::function<Tensors()>& compute) {
  for (const Network* network : networks) terms = std::max(terms, network->terms());
  return moved(networks, 3 * rounding::roundoff(at::kFloat) * std::sqrt(terms + 16), compute);
}

/// `got` is what it ought to be, and the bound says something: it is less than a hundredth of the largest number.
inline void check_rounded(const at::Tensor& got, const Rounded& wanted, std::size_t which) {
  const at::Tensor& exact = wanted.exact[which];
  REQUIRE(got.sizes() == exact.sizes());
  CAPTURE(which);
  CHECK((wide(got) - exact).abs().max().item<double>() <= wanted.bounds[which]);
  CHECK(wanted.bounds[which] <= 0.01 * exact.abs().max().item<double>());
}

/// A point and its two moments.
struct Adam {
  at::Tensor point, first, second;
};

/// That the moments of `after` are those of `before` and a gradient that is g to within `bound` (Adam, arXiv 1412.6980; β 0.9
/// and 0.999), but for four roundings of each term: a constant, a square, a product, the sum.
inline void check_adam_moments(const Adam& before, const Adam& after, const at::Tensor& g, double bound) {
  constexpr double u = 0x1p-24;
  const at::Tensor m = 0.9 * wide(before.first), v = 0.999 * wide(before.second);
  const at::Tensor squares = g.square(), largest = (g.abs() + bound).square();
  const auto excess = [](const at::Tensor& got, const at::Tensor& wanted, const at::Tensor& most) {
    return ((wide(got) - wanted).abs() - most).max().item<double>();
  };
  CHECK(excess(after.first, m + 0.1 * g, 0.1 * bound + 4 * u * (m.abs() + 0.1 * (g.abs() + bound))) <= 0);
  CHECK(excess(after.second, v + 0.001 * squares, 0.001 * (largest - squares) + 4 * u * (v + 0.001 * largest)) <= 0);
}

/// Where the `number`th step leads from `before` by the moments that `after` has (ε 1e-8), and how far from it float32 may be:
/// seven roundings of the step (two constants, quotient, root, sum, quotient, product), and the point's own.
inline std::pair<at::Tensor, at::Tensor> adam_point(const Adam& before, const Adam& after, double rate,
                                                    std::int64_t number) {
  constexpr double u = 0x1p-24;
  const auto t = static_cast<double>(number);
  const at::Tensor root = (wide(after.second) / (1 - std::pow(0.999, t))).sqrt();
  const at::Tensor step = rate / (1 - std::pow(0.9, t)) * wide(after.first) / (root + 1e-8);
  const at::Tensor point = wide(before.point) - step;
  return {point, 7 * u * step.abs() + u * point.abs()};
}

/// That `after` is one step from `before`, by a gradient that is g to within `bound`.
inline void check_adam_step(const Adam& before, const Adam& after, const at::Tensor& g, double bound, double rate,
                            std::int64_t number) {
  check_adam_moments(before, after, g, bound);
  const auto [point, off] = adam_point(before, after, rate, number);
  CHECK(((wide(after.point) - point).abs() - off).max().item<double>() <= 0);
}

}  // namespace float64
