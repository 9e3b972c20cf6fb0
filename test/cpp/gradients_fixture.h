// Checks of operators with gradients: against finite differences of themselves, and against libtorch's autograd through a
// plain composition, in float64 and in the narrower types.
#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "forced.h"
#include "rounding.h"

namespace gradients {

using rounding::roundoff;

using Tensors = std::vector<at::Tensor>;
/// From the inputs (undefined where one is left out) to one tensor.
using Function = std::function<at::Tensor(const Tensors&)>;

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

/// How much further from float64 than its plain composition in the same type an operator may be. Both round about as often,
/// in other orders; the largest of their errors is one number's, and such numbers differ by a factor more than means do.
constexpr double kTimesAsFar = 2;

/// `got` in `type` against `wanted` in float64: no further away than kTimesAsFar × `theirs`, the plain composition in that
/// type, or than roundings alone take it: the plain one may be exact by chance, and libtorch adds pairs of pairs. A sum of n
/// terms in float32 errs by the root of n roundoffs (they are independent), three times that at most, and is rounded to
/// `type`. Gradients in float32 are within 1e-4 besides: the project's aim.
inline void check_as_near(const Derived& got, const Derived& theirs, const Derived& wanted, at::ScalarType type) {
  const auto bound = [&](const at::Tensor& plain, const at::Tensor& exact) {
    const auto numbers = static_cast<double>(std::max<std::int64_t>(1, exact.numel()));
    const double terms = std::max(1.0, static_cast<double>(wanted.value.numel()) / numbers);
    return std::max(kTimesAsFar * apart(plain, exact), roundoff(type) + 3 * roundoff(at::kFloat) * std::sqrt(terms));
  };
  CHECK(apart(got.value, wanted.value) <= bound(theirs.value, wanted.value));
  for (std::size_t i = 0; i < got.gradients.size(); ++i) {
    if (!got.gradients[i].defined()) continue;
    CAPTURE(i);
    const double distance = apart(got.gradients[i], wanted.gradients[i]);
    CHECK(distance <= bound(theirs.gradients[i], wanted.gradients[i]));
    if (type == at::kFloat) CHECK(distance <= 1e-4);
  }
}

/// The same inputs, rounded to `type` and its companions'; got and wanted both start from the rounded ones.
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
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].defined()) CHECK((got.gradients[i].scalar_type() == narrow[i].scalar_type()));
  }
  check_as_near(got, derive(plain, all_narrow, weights), wanted, type);
}

}  // namespace gradients
