#include "agreement.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>

#include "timing.h"

namespace styleclip::bench {
namespace {

using nlohmann::ordered_json;

// What storing unit embeddings as float32 leaves. Two orders of summation that happen to give the same bits are no sign of
// less.
constexpr double kLeastNoise = 0x1p-24;
constexpr double kResolved = 300;  // ε: a row whose differences are shorter is noise to more than 1e-5 of its cosine

at::Tensor unit(const at::Tensor& x) {
  const at::Tensor length = x.norm(2, -1, true);
  return x / at::where(length > 0, length, 1.0);
}

at::Tensor rows_of(const at::Tensor& differences) { return unit(unit(differences).sum(1)); }

double pearson(const at::Tensor& a, const at::Tensor& b) {
  return (unit(a - a.mean()) * unit(b - b.mean())).sum().item<double>();
}

at::Tensor ranks(const at::Tensor& values) {
  at::Tensor result = at::empty_like(values);
  return result.index_copy_(0, values.argsort(), at::arange(values.numel(), at::kDouble));
}

ordered_json extremes(std::vector<double> values) {
  return {{"lowest", *std::min_element(values.begin(), values.end())}, {"median", median(values)}};
}

ordered_json relevance(const at::Tensor& rows, const at::Tensor& truth, const at::Tensor& directions,
                       std::int64_t survivors) {
  std::vector<double> linear, monotone, recall;
  const std::int64_t count = std::min(survivors, truth.size(0));
  for (std::int64_t prompt = 0; prompt < directions.size(0); ++prompt) {
    const at::Tensor direction = directions[prompt].to(at::kDouble);
    const at::Tensor got = at::matmul(rows, direction), wanted = at::matmul(truth, direction);
    linear.push_back(pearson(got, wanted));
    monotone.push_back(pearson(ranks(got), ranks(wanted)));
    // Between the last one selected and the first one that is not.
    const at::Tensor largest = std::get<0>(wanted.abs().topk(std::min(count + 1, truth.size(0))));
    const double beta = (largest[count - 1] + largest[-1]).item<double>() / 2;
    const at::Tensor selected = wanted.abs() >= beta;
    const double hits = (selected & (got.abs() >= beta)).sum().item<double>();
    recall.push_back(hits / selected.sum().item<double>());
  }
  return {{"prompts", directions.size(0)},
          {"survivors", count},
          {"pearson", extremes(linear)},
          {"spearman", extremes(monotone)},
          {"recall", extremes(recall)}};
}

}  // namespace

double distance(const at::Tensor& differences, const at::Tensor& others) {
  return (differences - others).square().sum(-1).mean().sqrt().item<double>();
}

double noise_of(const at::Tensor& differences, const at::Tensor& others) {
  const double seen = distance(differences, others);
  return seen > kLeastNoise ? seen : std::isnan(seen) ? seen : kLeastNoise;
}

ordered_json agreement(const at::Tensor& differences, const at::Tensor& truth, double noise,
                       const at::Tensor& directions, std::int64_t survivors) {
  const double moved = (differences.mean(1) - truth.mean(1)).norm(2, 1).max().item<double>();
  const at::Tensor rows = rows_of(differences), wanted = rows_of(truth);
  const at::Tensor cosine = (rows * wanted).sum(1);
  const at::Tensor resolved = std::get<0>(truth.norm(2, 2).median(1)) >= kResolved * noise;
  const auto count = resolved.sum().item<std::int64_t>();
  ordered_json json = {{"distance", distance(differences, truth)},
                       {"meanDifference", {{"largest", moved}, {"inEpsilons", moved / noise}}},
                       {"cosine",
                        {{"lowestResolved", count > 0 ? ordered_json(cosine.index({resolved}).min().item<double>())
                                                      : ordered_json(nullptr)},
                         {"resolved", count},
                         {"unresolved", cosine.numel() - count},
                         {"lowest", cosine.min().item<double>()},
                         {"median", cosine.median().item<double>()}}}};
  if (directions.defined()) json["relevance"] = relevance(rows, wanted, directions, survivors);
  return json;
}

std::string disagreement(const ordered_json& agreement, Precision precision, std::optional<double> plain) {
  const double moved = agreement["meanDifference"]["inEpsilons"];
  const ordered_json& cosine = agreement["cosine"];
  if (precision != Precision::Float32) {
    const double middle = cosine["median"], far = agreement["distance"];
    if (middle >= 0.99 || (plain && far <= 2 * *plain)) return "";
    return "half of the rows have a cosine below " + std::to_string(middle) +
           (plain ? ", and differences are " + std::to_string(far / *plain) + " times as far off as plain libtorch's"
                  : "");
  }
  if (!(moved <= 4)) return "a mean difference is off by " + std::to_string(moved) + " ε";
  if (!cosine["lowestResolved"].is_null() && !(cosine["lowestResolved"].get<double>() >= 0.99999)) {
    return "a resolved row has a cosine of " + std::to_string(cosine["lowestResolved"].get<double>());
  }
  return "";
}

}  // namespace styleclip::bench
