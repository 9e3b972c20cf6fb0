// From a text direction to a direction in StyleSpace (StyleCLIP, arXiv 2103.17249, section 6; released code: MapTS.py,
// GetBoundary). Plain C++ in float64 with a fixed order of summation: the same numbers on every machine and thread.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "styleclip/editing.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

// Automatic β of the released interface (Inference.py): 0.10, 0.11, … 0.29.
constexpr int kFirstCandidate = 10;
constexpr int kLastCandidate = 29;

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

void check(const RelevanceView& relevance, const float* text, const DirectionOptions& options) {
  if (relevance.rows == nullptr || relevance.channels == nullptr || text == nullptr || relevance.count < 1 ||
      relevance.dim < 1) {
    throw Error(ErrorCode::Shape, "An empty relevance table or text direction.", "Run a sweep first.");
  }
  if (options.measure == Measure::Projection && relevance.concentration == nullptr) {
    throw Error(ErrorCode::Argument, "The relevance table has no concentration, which the projection measure needs.",
                "Use the cosine measure, or a table made by this package.");
  }
  if (options.scale_by_sigma && relevance.sigma == nullptr) {
    throw Error(ErrorCode::Argument, "There are no standard deviations to scale by.", "Give style statistics.");
  }
  if (std::isnan(options.beta) || options.beta > 1) {
    throw Error(ErrorCode::Range, "beta is " + decimal(options.beta) + ".",
                "beta is a threshold on |cosine|: 0 to 1, or automatic.");
  }
  if (options.channels < 0 || options.channels > relevance.count) {
    throw Error(ErrorCode::Range, "Asked for " + std::to_string(options.channels) + " channels.",
                "The relevance table has " + std::to_string(relevance.count) + ".");
  }
  if (options.automatic_channels < 0) {
    throw Error(ErrorCode::Range, "Asked for more than " + std::to_string(options.automatic_channels) + " channels.",
                "The automatic threshold keeps more than 20 (faces) or 100 (other pictures) channels.");
  }
  for (std::int64_t i = 0; i < relevance.count; ++i) {
    const std::int64_t channel = relevance.channels[i];
    if (channel >= 0 && channel < relevance.total) continue;
    throw Error(ErrorCode::Range,
                "Row " + std::to_string(i) + " belongs to style channel " + std::to_string(channel) + ".",
                "The generator has " + std::to_string(relevance.total) + " style channels.");
  }
}

double dot(const float* a, const float* b, std::int64_t dim) {
  double sum = 0;
  for (std::int64_t i = 0; i < dim; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// r_c of every row. The text direction is made unit length here, so that any multiple of it gives the same edit.
std::vector<double> relevance_of(const RelevanceView& relevance, const float* text, Measure measure) {
  const double length = std::sqrt(dot(text, text, relevance.dim));
  if (!(length > 0) || !std::isfinite(length)) {
    throw Error(ErrorCode::NotFinite, "The text direction is zero, or holds NaN or infinity.",
                "Make it with a target and a neutral text that differ.");
  }
  std::vector<double> r(static_cast<std::size_t>(relevance.count));
  for (std::int64_t i = 0; i < relevance.count; ++i) {
    double value = dot(relevance.rows + i * relevance.dim, text, relevance.dim) / length;
    if (measure == Measure::Projection) value *= static_cast<double>(relevance.concentration[i]);
    const bool scaled = relevance.sigma == nullptr || std::isfinite(relevance.sigma[relevance.channels[i]]);
    if (!std::isfinite(value) || !scaled) {
      throw Error(ErrorCode::NotFinite,
                  "Row " + std::to_string(i) + " of the relevance table (style channel " +
                      std::to_string(relevance.channels[i]) + "), or its standard deviation, holds NaN or infinity.",
                  "Run the sweep again, or use another file.");
    }
    r[static_cast<std::size_t>(i)] = value;
  }
  return r;
}

// Rows with r ≠ 0 by |r|, largest first; equal ones by channel index, so that the order is always the same.
std::vector<std::int64_t> ranked(const std::vector<double>& r, const std::int64_t* channels) {
  std::vector<std::int64_t> order;
  for (std::size_t i = 0; i < r.size(); ++i) {
    if (r[i] != 0) order.push_back(static_cast<std::int64_t>(i));
  }
  std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    const double left = std::abs(r[static_cast<std::size_t>(a)]);
    const double right = std::abs(r[static_cast<std::size_t>(b)]);
    return left != right ? left > right : channels[a] < channels[b];
  });
  return order;
}

// How many of the ranked rows have |r| ≥ beta.
std::size_t passing(const std::vector<double>& r, const std::vector<std::int64_t>& order, double beta) {
  const auto end = std::partition_point(
      order.begin(), order.end(), [&](std::int64_t row) { return std::abs(r[static_cast<std::size_t>(row)]) >= beta; });
  return static_cast<std::size_t>(end - order.begin());
}

[[noreturn]] void throw_empty(const std::vector<double>& r, const std::vector<std::int64_t>& order, double beta,
                              std::int64_t wanted) {
  if (order.empty()) {
    throw Error(ErrorCode::EmptySelection, "No style channel moves along this text direction: every relevance is 0.",
                "Use another text, or sweep more layers.");
  }
  // A threshold that the wanted number of channels, or all there are, would pass; rounded down to what people type.
  const std::size_t rank = std::min(order.size(), static_cast<std::size_t>(std::max<std::int64_t>(1, wanted)));
  const double at_rank = std::abs(r[static_cast<std::size_t>(order[rank - 1])]);
  const double rounded = std::floor(at_rank * 100) / 100;
  const double largest = std::abs(r[static_cast<std::size_t>(order[0])]);
  throw Error(
      ErrorCode::EmptySelection,
      "No style channel reaches beta " + decimal(beta) + ": the largest |relevance| is " + decimal(largest) + ".",
      "Try beta " + decimal(rounded > 0 ? rounded : at_rank * 0.99) + ", which keeps " +
          std::to_string(passing(r, order, rounded > 0 ? rounded : at_rank * 0.99)) +
          " channels, or ask for a number of channels.");
}

}  // namespace

double automatic_beta(const std::vector<double>& descending, std::int64_t more_than) {
  for (int candidate = kLastCandidate; candidate > kFirstCandidate; --candidate) {
    const double beta = candidate / 100.0;
    const auto end = std::partition_point(descending.begin(), descending.end(), [&](double r) { return r >= beta; });
    if (end - descending.begin() > more_than) return beta;
  }
  return kFirstCandidate / 100.0;
}

GlobalDirection global_direction(const RelevanceView& relevance, const float* text, const DirectionOptions& options) {
  check(relevance, text, options);
  const std::vector<double> r = relevance_of(relevance, text, options.measure);
  const std::vector<std::int64_t> order = ranked(r, relevance.channels);

  GlobalDirection result;
  result.largest = order.empty() ? 0 : std::abs(r[static_cast<std::size_t>(order[0])]);
  std::size_t kept = 0;
  if (options.channels > 0) {
    kept = std::min(order.size(), static_cast<std::size_t>(options.channels));
    result.beta = kept > 0 ? std::abs(r[static_cast<std::size_t>(order[kept - 1])]) : 0;
  } else {
    std::vector<double> descending;
    descending.reserve(order.size());
    for (const std::int64_t row : order) descending.push_back(std::abs(r[static_cast<std::size_t>(row)]));
    result.beta = options.beta < 0 ? automatic_beta(descending, options.automatic_channels) : options.beta;
    kept = passing(r, order, result.beta);
  }
  if (kept == 0) throw_empty(r, order, result.beta, options.automatic_channels);

  result.delta.assign(static_cast<std::size_t>(relevance.total), 0.0F);
  for (std::size_t i = 0; i < kept; ++i) {
    const std::int64_t row = order[i];
    const std::int64_t channel = relevance.channels[row];
    const double relevance_c = r[static_cast<std::size_t>(row)];
    double delta = options.normalise_largest ? relevance_c / result.largest : relevance_c;
    if (options.scale_by_sigma) delta *= static_cast<double>(relevance.sigma[channel]);
    result.delta[static_cast<std::size_t>(channel)] = static_cast<float>(delta);
    result.selected.push_back({row, channel, static_cast<float>(relevance_c), static_cast<float>(delta)});
  }
  return result;
}

}  // namespace styleclip
