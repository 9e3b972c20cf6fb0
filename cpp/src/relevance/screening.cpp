#include "relevance/screening.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/polygamma.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>

namespace styleclip {
namespace {

constexpr double kPooled = 20;       // pictures
constexpr double kLeastShare = 0.1;  // of |mean|² that stays when scatter is taken off

double trigamma(double x) { return at::polygamma(1, at::scalar_tensor(x, at::kDouble)).item<double>(); }

at::Tensor safe(const at::Tensor& divisor) { return at::where(divisor > 0, divisor, 1.0); }

// Lengths [channels, pictures] of slopes, from those of their sketches; zero where that is.
at::Tensor smooth(const at::Tensor& lengths, double noise) {
  const at::Tensor known = lengths > 0, weight = known.to(at::kDouble);
  const at::Tensor logs = at::where(known, lengths, 1.0).log();
  const auto mean = [&](const at::Tensor& x, std::int64_t over) {
    return (x * weight).sum(over, true) / at::clamp_min(weight.sum(over, true), 1);
  };
  const at::Tensor by_channel = mean(logs, 1);
  const at::Tensor expected = by_channel + mean(logs - by_channel, 0);
  const at::Tensor apart = (logs - expected) * weight;
  const double count = std::max(1.0, weight.sum().item<double>());
  const double scatter = apart.square().sum().item<double>() / count;
  const double own = scatter > 0 ? std::max(0.0, 1 - noise / scatter) : 1;
  return (expected + own * apart).exp() * weight;
}

}  // namespace

SketchedRelevance read_sketch(const Sketch& sketch) {
  const auto pictures = static_cast<double>(sketch.text.size(1));
  const auto probes = static_cast<double>(sketch.along.size(2)), dim = static_cast<double>(sketch.directions.size(2));
  const double scale = dim / probes;
  const at::Tensor sketched = sketch.along.norm(2, 2) * std::sqrt(scale);  // [channels, pictures]
  const double noise = probes < dim ? (trigamma(probes / 2) - trigamma(dim / 2)) / 4 : 0;
  const at::Tensor lengths = safe(smooth(sketched, noise));

  SketchedRelevance result;
  // No unit vector has more along the text than its length; the quotient, of a rough length, may.
  result.text = at::clamp(sketch.text / lengths, -1, 1);
  const at::Tensor unit = sketch.along / lengths.unsqueeze(2);
  // Σ of the sketches' back-projections, [channels, dim].
  const at::Tensor sum = scale * at::matmul(unit.flatten(1), sketch.directions.flatten(0, 1));
  const at::Tensor noise2 = (scale - 1) * scale * unit.square().sum(at::IntArrayRef({1, 2}));
  const at::Tensor numerator = result.text.sum(1).abs();
  const double least = (1 - 1 / scale) * pictures;  // |Σ|² of unit vectors in any directions
  const at::Tensor length = at::maximum(at::clamp_min(sum.square().sum(1) - noise2, least).sqrt(), numerator);
  result.relevance = numerator / safe(length);
  return result;
}

RelevanceEstimate estimate_relevance(const at::Tensor& seen, const at::Tensor& text, const at::Tensor& control) {
  const auto n = static_cast<double>(seen.size(1)), all = static_cast<double>(control.size(1));
  const double left = 1 - n / all, own = n / (n + kPooled);
  const at::Tensor mean = seen.mean(1);                   // [channels, dim]
  const at::Tensor length2 = mean.square().sum(1, true);  // [channels, 1]
  const at::Tensor scatter = n / (n - 1) * (1 - length2);
  const at::Tensor length = at::maximum(length2 - left * scatter / n, kLeastShare * length2).sqrt();
  const at::Tensor along_text = at::matmul(seen, text);  // [channels, n]
  const at::Tensor along_mean = at::bmm(seen, mean.unsqueeze(2)).squeeze(2) / safe(length2.sqrt());
  const at::Tensor ratio = along_text.mean(1, true) / safe(length);  // [channels, 1]

  // What each picture adds to the ratio's error, to first order, and what of it the slopes tell.
  at::Tensor part = (along_text - ratio * along_mean) / safe(length);
  part = part - part.mean(1, true);
  const at::Tensor slopes = control.narrow(1, 0, seen.size(1));
  const at::Tensor apart = slopes - slopes.mean(1, true);
  const at::Tensor both = (part * apart).sum(1, true), spread = apart.square().sum(1, true);
  const double total = spread.sum().item<double>();
  const double together = total > 0 ? both.sum().item<double>() / total : 0;
  const at::Tensor slope = own * (both / safe(spread)) + (1 - own) * together;
  const at::Tensor estimate = ratio + slope * (control.mean(1, true) - slopes.mean(1, true));
  const at::Tensor variance = left / n * (part - slope * apart).square().sum(1) / (n - 2);
  return {estimate.squeeze(1).abs(), (own * variance + (1 - own) * variance.mean()).sqrt()};
}

}  // namespace styleclip
