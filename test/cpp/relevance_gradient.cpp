// The methods beside exact and reference, and sweeps over named channels. The gradient is held against central
// differences: with a perturbation of h σ, reference's difference divided by its size tends to the slope as h² falls.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace {

using styleclip::ErrorCode;
using styleclip::Perturbation;
using styleclip::RelevanceRows;
using styleclip::StyleStatistics;
using styleclip::SweepOptions;

StyleStatistics statistics() {
  static const StyleStatistics made = styleclip::style_statistics(tiny::generator(), 500, {}, {});
  return made;
}

SweepOptions options_of(double sigmas, std::int64_t batch) {
  SweepOptions options;
  options.images = 3;
  options.sigmas = sigmas;
  options.perturbation = Perturbation::Relative;
  options.layers = {"all"};
  options.batch = batch;
  return options;
}

RelevanceRows run(const std::string& method, const SweepOptions& options) {
  return styleclip::sweep(method, tiny::generator(), tiny::clip(), statistics(), options, {});
}

// Lowest cosine of two tables' rows.
double lowest_cosine(const RelevanceRows& a, const RelevanceRows& b) {
  return (a.rows.to(at::kDouble) * b.rows.to(at::kDouble)).sum(1).min().item<double>();
}

// Where every leaky ReLU is on its positive side, the embedding is smooth, and two sizes of step tell how much a central
// difference is off: a third of what the step of twice the size adds. Embeddings are known to some 2e-7.
TEST_CASE("gradient: every row is the limit of central differences, at every batch size") {
  constexpr double kStep = 0.4, kNoise = 2e-7;
  tiny::Weights weights = tiny::generator_weights();
  tiny::keep_activations_positive(weights);
  const auto smooth = tiny::load_generator(weights);
  const StyleStatistics own = styleclip::style_statistics(*smooth, 500, {}, {});
  SweepOptions options = options_of(1, 8);
  options.images = 1;  // then a row times its magnitude is the difference itself
  const auto sweep = [&](const std::string& method) {
    return styleclip::sweep(method, *smooth, tiny::clip(), own, options, {});
  };
  const auto slopes = [](const RelevanceRows& rows, double step) {
    return rows.rows.to(at::kDouble) * rows.magnitude.to(at::kDouble).unsqueeze(1) / step;
  };
  const RelevanceRows slope = sweep("gradient");
  CHECK(slope.implementation == "gradient");
  CHECK(slope.images == tiny::clip().embedding_dim());
  options.sigmas = kStep;
  const at::Tensor near = slopes(sweep("reference"), kStep);
  options.sigmas = 2 * kStep;
  const at::Tensor far = slopes(sweep("reference"), 2 * kStep);
  const at::Tensor bound = (far - near).norm(2, 1) / 2 + kNoise / kStep;
  CHECK(((slopes(slope, 1) - near).norm(2, 1) / bound).max().item<double>() < 1);
  CHECK((bound / near.norm(2, 1)).median().item<double>() < 0.01);  // it would see an error of a hundredth

  options.sigmas = 1;
  for (const std::int64_t batch : {1, 7, 24, 64}) {
    options.batch = batch;
    CHECK(lowest_cosine(sweep("gradient"), slope) > 1 - 1e-5);
  }
}

TEST_CASE("gradient: a step of twice the size doubles the differences and turns no row") {
  const RelevanceRows one = run("gradient", options_of(1, 8));
  const RelevanceRows two = run("gradient", options_of(2, 8));
  CHECK(two.magnitude.allclose(2 * one.magnitude, 1e-4, 1e-6));
  CHECK(lowest_cosine(one, two) > 1 - 1e-5);
}

TEST_CASE("gradient: roundings to 8 bits have none; NaN is named by where it comes from") {
  SweepOptions options = options_of(1, 4);
  options.preprocess = styleclip::Preprocess::Reference8;
  CHECK(tiny::error_of([&] { (void)run("gradient", options); }).code() == ErrorCode::Argument);

  tiny::Weights weights = tiny::generator_weights();
  weights["convs.1.noise.weight"].fill_(3e38);  // finite, until it is multiplied with noise
  const auto broken = tiny::load_generator(weights);
  const styleclip::Error error = tiny::error_of(
      [&] { (void)styleclip::sweep("gradient", *broken, tiny::clip(), statistics(), options_of(1, 4), {}); });
  CHECK(error.code() == ErrorCode::NotFinite);
  CHECK(std::string(error.what()).find("the output of b8.conv1 is not finite in channel 0") != std::string::npos);
}

TEST_CASE("gradient: a set flag stops it") {
  styleclip::CancelFlag cancel;
  cancel.set();
  styleclip::RunContext context;
  context.cancel = &cancel;
  CHECK_THROWS_AS(
      (void)styleclip::sweep("gradient", tiny::generator(), tiny::clip(), statistics(), options_of(1, 4), context),
      styleclip::Aborted);
}

TEST_CASE("named channels: the same rows as among all of them, by every method") {
  for (const std::string& method : styleclip::sweep_methods()) {
    CAPTURE(method);
    SweepOptions options = options_of(3, 8);
    const RelevanceRows all = run(method, options);
    options.channels = {1, 7, 8, 20};
    const RelevanceRows some = run(method, options);
    CHECK(some.channels == options.channels);
    for (std::size_t i = 0; i < options.channels.size(); ++i) {
      const auto place =
          std::find(all.channels.begin(), all.channels.end(), options.channels[i]) - all.channels.begin();
      CHECK((all.rows[place] - some.rows[static_cast<std::int64_t>(i)]).norm().item<double>() < 2e-3);
      CHECK(all.magnitude[place].item<double>() ==
            doctest::Approx(some.magnitude[static_cast<std::int64_t>(i)].item<double>()).epsilon(1e-3));
    }
  }
}

TEST_CASE("named channels: those that are not swept, out of order or named twice are refused") {
  SweepOptions options = options_of(3, 8);
  options.layers = {"b4.conv1"};
  const std::vector<std::vector<std::int64_t>> refused = {{-1}, {6}, {3, 2}, {2, 2}, {100000}};
  for (const std::vector<std::int64_t>& channels : refused) {
    options.channels = channels;
    CHECK(tiny::error_of([&] { (void)run("reference", options); }).code() == ErrorCode::Argument);
  }
}

}  // namespace
