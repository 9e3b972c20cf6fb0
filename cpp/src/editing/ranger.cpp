// See ranger.h.
#include "editing/ranger.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

namespace styleclip {
namespace {

struct Constants {
  double beta1, beta2, epsilon;
};
constexpr Constants kAdam{0.9, 0.999, 1e-8};
constexpr Constants kRanger{0.95, 0.999, 1e-5};
constexpr double kVarianceKnown = 5;      // length of the average from which RAdam divides by the second moment
constexpr std::int64_t kLookahead = 6;    // fast steps between two slow ones
constexpr double kLookaheadFactor = 0.5;  // of the way that a slow step goes

// g minus its mean over all dimensions but the first; vectors stay as they are.
at::Tensor centralised(const at::Tensor& gradient) {
  if (gradient.dim() < 2) return gradient;
  std::vector<std::int64_t> rest;
  for (std::int64_t dim = 1; dim < gradient.dim(); ++dim) rest.push_back(dim);
  return gradient - gradient.mean(rest, /*keepdim=*/true);
}

}  // namespace

ParameterOptimizer::ParameterOptimizer(TrainingOptimizer kind, double learning_rate, std::vector<at::Tensor> parameters)
    : kind_(kind), rate_(learning_rate), parameters_(std::move(parameters)) {
  const c10::AutoGradMode no_graph(false);
  for (const at::Tensor& parameter : parameters_) {
    first.push_back(at::zeros_like(parameter));
    second.push_back(at::zeros_like(parameter));
    if (kind_ == TrainingOptimizer::Ranger) slow.push_back(parameter.detach().clone());
  }
}

void ParameterOptimizer::step(const std::vector<at::Tensor>& gradients, double share) {
  const c10::AutoGradMode no_graph(false);
  const bool ranger = kind_ == TrainingOptimizer::Ranger;
  const Constants& constants = ranger ? kRanger : kAdam;
  ++steps;
  const auto number = static_cast<double>(steps);
  const double left1 = 1 - std::pow(constants.beta1, number), left2 = 1 - std::pow(constants.beta2, number);
  // RAdam's equations (5) and the rectification r_t, with Adam's bias corrections in one factor.
  const double longest = 2 / (1 - constants.beta2) - 1;
  const double length = longest - 2 * number * (1 - left2) / left2;
  const bool adapted = length > kVarianceKnown;
  double size = rate_ * share / left1;
  if (ranger && adapted) {
    size *= std::sqrt(left2 * (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2));
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& parameter = parameters_[i];
    const at::Tensor gradient = ranger ? centralised(gradients[i]) : gradients[i];
    second[i].mul_(constants.beta2).addcmul_(gradient, gradient, 1 - constants.beta2);
    first[i].mul_(constants.beta1).add_(gradient, 1 - constants.beta1);
    if (!ranger) {
      parameter.addcdiv_(first[i], (second[i] / left2).sqrt_().add_(constants.epsilon), -size);
      continue;
    }
    if (adapted) {
      parameter.addcdiv_(first[i], second[i].sqrt().add_(constants.epsilon), -size);
    } else {
      parameter.add_(first[i], -size);
    }
    if (steps % kLookahead == 0) {
      slow[i].add_(parameter - slow[i], kLookaheadFactor);
      parameter.copy_(slow[i]);
    }
  }
}

}  // namespace styleclip
