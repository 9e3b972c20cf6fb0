// Agreement of two relevances. The TypeScript API has the same in ts/agreement.ts; test/data/agreement.json, computed by
// NumPy, holds the two together.
#include "styleclip/agreement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <unordered_map>

#include "styleclip/editing.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// A table as plain memory, which the tensors keep alive.
struct Table {
  at::Tensor rows, magnitudes, counts;
  const std::vector<std::int64_t>* channels = nullptr;
  std::int64_t dim = 0;

  const float* row(std::size_t i) const { return rows.const_data_ptr<float>() + static_cast<std::int64_t>(i) * dim; }
  double magnitude(std::size_t i) const { return static_cast<double>(magnitudes.const_data_ptr<float>()[i]); }
  bool moves(std::size_t i) const { return counts.const_data_ptr<std::int64_t>()[i] > 0; }
};

Table table_of(const RelevanceRows& of, const char* name) {
  const std::int64_t n = std::ssize(of.channels);
  const auto fits = [n](const at::Tensor& values) {
    return values.defined() && values.dim() == 1 && values.size(0) == n;
  };
  if (!of.rows.defined() || of.rows.dim() != 2 || of.rows.size(0) != n || !fits(of.magnitude) || !fits(of.counts)) {
    throw Error(
        ErrorCode::Shape,
        std::string(name) + " has not one row, magnitude and count for each of its " + std::to_string(n) + " channels.",
        "Compare what the sweep gave.");
  }
  return {of.rows.to(at::kCPU, at::kFloat).contiguous(), of.magnitude.to(at::kCPU, at::kFloat).contiguous(),
          of.counts.to(at::kCPU, at::kLong).contiguous(), &of.channels, of.rows.size(1)};
}

// Rows of one channel.
struct Pair {
  std::size_t own, truth;
};

double dot(const float* a, const float* b, std::int64_t dim) {
  double sum = 0;
  for (std::int64_t i = 0; i < dim; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

// Of ascending numbers.
double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return kNone;
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (place - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

double pearson(const std::vector<double>& x, const std::vector<double>& y) {
  const double mean_x = mean(x), mean_y = mean(y);
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double dx = x[i] - mean_x, dy = y[i] - mean_y;
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return xy / std::sqrt(xx * yy);
}

std::vector<double> ranks(const std::vector<double>& x) {
  std::vector<std::size_t> order(x.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return x[a] < x[b]; });
  std::vector<double> result(x.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t end = first + 1;
    while (end < order.size() && x[order[end]] == x[order[first]]) ++end;
    for (std::size_t i = first; i < end; ++i) result[order[i]] = static_cast<double>(first + end - 1) / 2;
    first = end;
  }
  return result;
}

// A text direction and its length: a direction and its double select the same channels.
struct Text {
  at::Tensor numbers;
  double length = 0;

  const float* data() const { return numbers.const_data_ptr<float>(); }
  double along(const float* row) const { return dot(row, data(), numbers.numel()) / length; }
};

Text text_of(const at::Tensor& direction, std::int64_t dim) {
  if (!direction.defined() || direction.dim() != 1 || direction.size(0) != dim) {
    throw Error(ErrorCode::Shape, "A text direction has not the " + std::to_string(dim) + " numbers of a row.",
                "Use directions of the CLIP that the sweep was made with.");
  }
  Text text{direction.detach().to(at::kCPU, at::kFloat).contiguous()};
  text.length = std::sqrt(dot(text.data(), text.data(), dim));
  if (!(text.length > 0) || !std::isfinite(text.length)) {
    throw Error(ErrorCode::NotFinite, "A text direction is zero, or holds NaN or infinity.",
                "Make it with a target and a neutral text that differ.");
  }
  return text;
}

// What global_direction() takes for this text from the whole table.
double automatic_beta_of(const Table& truth, const float* text, std::int64_t automatic_channels) {
  RelevanceView view;
  view.rows = truth.row(0);
  view.count = std::ssize(*truth.channels);
  view.dim = truth.dim;
  view.channels = truth.channels->data();
  view.total = 1 + *std::max_element(truth.channels->begin(), truth.channels->end());
  DirectionOptions options;
  options.beta = -1;
  options.automatic_channels = automatic_channels;
  options.scale_by_sigma = false;
  return global_direction(view, text, options).beta;
}

DirectionAgreement of_text(const Table& own, const Table& truth, const std::vector<Pair>& pairs, const Text& text,
                           const AgreementOptions& options) {
  DirectionAgreement result;
  result.beta = options.beta ? *options.beta : automatic_beta_of(truth, text.data(), options.automatic_channels);
  std::vector<double> mine, theirs;
  std::int64_t both = 0;
  for (const Pair& pair : pairs) {
    mine.push_back(text.along(own.row(pair.own)));
    theirs.push_back(text.along(truth.row(pair.truth)));
    const bool is_selected = std::abs(mine.back()) >= result.beta, is_expected = std::abs(theirs.back()) >= result.beta;
    result.selected += static_cast<std::int64_t>(is_selected);
    result.expected += static_cast<std::int64_t>(is_expected);
    both += static_cast<std::int64_t>(is_selected && is_expected);
  }
  result.pearson = pearson(mine, theirs);
  result.spearman = pearson(ranks(mine), ranks(theirs));
  if (result.expected > 0) result.recall = static_cast<double>(both) / static_cast<double>(result.expected);
  return result;
}

void check(const Table& own, const Table& truth, const AgreementOptions& options) {
  if (own.dim != truth.dim) {
    throw Error(ErrorCode::Shape,
                "The rows have " + std::to_string(own.dim) + " and " + std::to_string(truth.dim) + " numbers.",
                "Compare sweeps with one CLIP model.");
  }
  if (options.beta && !(*options.beta >= 0 && *options.beta <= 1)) {
    throw Error(ErrorCode::Range, "beta is " + std::to_string(*options.beta) + ".",
                "beta is a threshold on |cosine|: 0 to 1, or none for the automatic one.");
  }
  if (!(options.epsilon >= 0 && options.epsilon <= 1)) {
    throw Error(ErrorCode::Range, "epsilon is " + std::to_string(options.epsilon) + ".",
                "epsilon is the noise of a unit embedding: 0 to 1, some 1e-7 in float32.");
  }
}

}  // namespace

Agreement agreement(const RelevanceRows& rows, const RelevanceRows& truth, const AgreementOptions& options) {
  const Table own = table_of(rows, "The table"), other = table_of(truth, "The truth");
  check(own, other, options);

  Agreement result;
  std::unordered_map<std::int64_t, std::size_t> place_of;
  for (std::size_t i = 0; i < truth.channels.size(); ++i) place_of.emplace(truth.channels[i], i);
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < rows.channels.size(); ++i) {
    const auto found = place_of.find(rows.channels[i]);
    if (found == place_of.end()) continue;
    ++result.channels;
    if (own.moves(i) || other.moves(found->second)) pairs.push_back({i, found->second});
  }
  if (pairs.empty()) {
    throw Error(ErrorCode::Argument, "There is no channel that both relevances have and that moves.",
                "Compare sweeps of the same layers.");
  }
  result.still = result.channels - std::ssize(pairs);

  std::vector<double> cosines, errors;
  double lowest_resolved = std::numeric_limits<double>::infinity();
  for (const Pair& pair : pairs) {
    const double cosine = dot(own.row(pair.own), other.row(pair.truth), own.dim),
                 magnitude = other.magnitude(pair.truth);
    if (!std::isfinite(cosine) || !std::isfinite(magnitude) || !std::isfinite(own.magnitude(pair.own))) {
      throw Error(
          ErrorCode::NotFinite,
          "A row or magnitude of style channel " + std::to_string(rows.channels[pair.own]) + " holds NaN or infinity.",
          "Run the sweep again, or use another file.");
    }
    cosines.push_back(cosine);
    if (own.moves(pair.own) && other.moves(pair.truth)) {
      errors.push_back(std::abs(own.magnitude(pair.own) - magnitude) / magnitude);
    }
    if (magnitude >= kResolvedEpsilons * options.epsilon) {
      ++result.resolved.channels;
      lowest_resolved = std::min(lowest_resolved, cosine);
    } else {
      result.unresolved.push_back(rows.channels[pair.own]);
    }
  }
  result.resolved.min = result.resolved.channels > 0 ? lowest_resolved : kNone;
  result.cosine.mean = mean(cosines);
  std::sort(cosines.begin(), cosines.end());
  std::sort(errors.begin(), errors.end());
  result.cosine.min = cosines.front();
  result.cosine.p01 = quantile(cosines, 0.01);
  result.cosine.p10 = quantile(cosines, 0.1);
  result.cosine.median = quantile(cosines, 0.5);
  result.magnitude.median = quantile(errors, 0.5);
  result.magnitude.max = errors.empty() ? kNone : errors.back();
  for (const at::Tensor& direction : options.directions) {
    result.directions.push_back(of_text(own, other, pairs, text_of(direction, own.dim), options));
  }
  return result;
}

}  // namespace styleclip
