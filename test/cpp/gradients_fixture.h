// Checks of operators with gradients: against finite differences of themselves, and against libtorch's autograd through a
// plain composition, in float64 and in the narrower types.
#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "styleclip/ops.h"

namespace gradients {

using Tensors = std::vector<at::Tensor>;
/// From the inputs (undefined where one is left out) to one tensor.
using Function = std::function<at::Tensor(const Tensors&)>;

struct Forced {
  Forced(std::string op, const std::string& name) : op(std::move(op)) {
    styleclip::force_implementation(this->op, name);
  }
  ~Forced() { styleclip::force_implementation(op, ""); }
  Forced(const Forced&) = delete;
  Forced& operator=(const Forced&) = delete;
  std::string op;
};

struct Derived {
  at::Tensor value;
  Tensors gradients;  // of Σ weights value, to each input; undefined for an undefined input
};

/// Inputs as leaves of `type` (the first) and its companions' type (the others), gradients of Σ weights value, where the
/// weights are `weights` in the value's type.
inline Derived derive(const Function& function, const Tensors& inputs, const at::Tensor& weights) {
  Tensors leaves;
  Tensors asked;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.defined() ? input.detach().requires_grad_() : input);
    if (input.defined()) asked.push_back(leaves.back());
  }
  Derived derived;
  derived.value = function(leaves);
  const Tensors all =
      torch::autograd::grad({derived.value}, asked, {weights.to(derived.value.scalar_type())}, {}, false,
                            /*allow_unused=*/false);
  std::size_t next = 0;
  for (const at::Tensor& input : inputs) derived.gradients.push_back(input.defined() ? all[next++] : at::Tensor());
  derived.value = derived.value.detach();
  return derived;
}

/// The largest difference beside the largest number of `wanted`, both in float64.
inline double apart(const at::Tensor& got, const at::Tensor& wanted) {
  REQUIRE(got.sizes() == wanted.sizes());
  if (wanted.numel() == 0) return 0;
  const at::Tensor exact = wanted.to(at::kDouble);
  const double largest = exact.abs().max().item<double>();
  const double difference = (got.to(at::kDouble) - exact).abs().max().item<double>();
  return largest > 0 ? difference / largest : difference;
}

/// Central differences of Σ weights function(inputs) to every element of inputs[which], float64.
inline at::Tensor finite_differences(const Function& function, const Tensors& inputs, std::size_t which,
                                     const at::Tensor& weights) {
  constexpr double kStep = 1e-5;
  const at::NoGradGuard guard;
  at::Tensor slopes = at::empty({inputs[which].numel()}, at::kDouble);
  Tensors moved = inputs;
  for (std::int64_t i = 0; i < slopes.numel(); ++i) {
    double difference = 0;
    for (const double sign : {1.0, -1.0}) {
      at::Tensor values = inputs[which].contiguous().clone();
      values.view({-1})[i] += sign * kStep;
      moved[which] = values;
      difference += sign * (function(moved) * weights).sum().item<double>();
    }
    slopes[i] = difference / (2 * kStep);
  }
  return slopes.view(inputs[which].sizes());
}

/// float64 inputs, `function` with the implementation that is forced: against finite differences and against `plain`.
/// `differences` false leaves the first out.
inline void check_double(const Function& function, const Function& plain, const Tensors& inputs, bool differences) {
  at::Tensor weights;
  {
    const at::NoGradGuard guard;
    weights = at::randn(function(inputs).sizes(), at::kDouble);
  }
  const Derived got = derive(function, inputs, weights), wanted = derive(plain, inputs, weights);
  CHECK(apart(got.value, wanted.value) <= 1e-12);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) continue;
    CAPTURE(i);
    CHECK(apart(got.gradients[i], wanted.gradients[i]) <= 1e-11);
    if (differences) CHECK(apart(got.gradients[i], finite_differences(function, inputs, i, weights)) <= 1e-6);
  }
}

/// The same inputs, rounded to `type` and its companions'; got and wanted both start from the rounded ones. In float32 within
/// 1e-4. In a 16-bit type at most twice as far from float64 as the plain composition is in that type.
inline void check_narrow(const Function& function, const Function& plain, const Tensors& inputs, at::ScalarType type) {
  Tensors narrow, wide, all_narrow;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) {
      for (Tensors* list : {&narrow, &wide, &all_narrow}) list->emplace_back();
      continue;
    }
    narrow.push_back(inputs[i].to(i == 0 ? type : at::kFloat));
    wide.push_back(narrow.back().to(at::kDouble));
    all_narrow.push_back(narrow.back().to(type));
  }
  at::Tensor weights;
  {
    const at::NoGradGuard guard;
    weights = at::randn(plain(wide).sizes(), at::kDouble).to(type).to(at::kDouble);
  }
  const Derived got = derive(function, narrow, weights), wanted = derive(plain, wide, weights);
  CHECK((got.value.scalar_type() == type));
  if (type == at::kFloat) {
    CHECK(apart(got.value, wanted.value) <= 1e-5);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      CAPTURE(i);
      if (inputs[i].defined()) CHECK(apart(got.gradients[i], wanted.gradients[i]) <= 1e-4);
    }
    return;
  }
  const Derived theirs = derive(plain, all_narrow, weights);
  const double roundoff = type == at::kHalf ? 0x1p-11 : 0x1p-8;  // theirs may be exact by chance
  CHECK(apart(got.value, wanted.value) <= 2 * std::max(apart(theirs.value, wanted.value), roundoff));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) continue;
    CAPTURE(i);
    CHECK((got.gradients[i].scalar_type() == narrow[i].scalar_type()));
    CHECK(apart(got.gradients[i], wanted.gradients[i]) <=
          2 * std::max(apart(theirs.gradients[i], wanted.gradients[i]), roundoff));
  }
}

}  // namespace gradients
