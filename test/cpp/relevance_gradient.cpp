// The methods beside exact and reference, and sweeps over named channels. The gradient is held against central
// differences: with a perturbation of h σ, reference's difference divided by its size tends to the slope as h² falls.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "relevance_fixture.h"
#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace {

using styleclip::ErrorCode;
using styleclip::Perturbation;
using styleclip::RelevanceRows;
using styleclip::StyleStatistics;
using styleclip::SweepOptions;
using tiny::statistics;

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

// Where every leaky ReLU is on its positive side, the embedding is smooth, and central differences of step h are off by even
// powers of h. Romberg's (4 D(h) − D(2h)) / 3 has no square in it; that of twice the step is off by 16 times as much or more,
// so that the two are further apart than the first is from the slope. A difference of embeddings is known to their noise, and
// the mean of that of many pictures to its root of their number less; three deviations, of 4/3 and 1/6 of it over h.
TEST_CASE("gradient: every difference is the limit of central differences, rows are the same at every batch size") {
  constexpr double kStep = 0.3;
  tiny::Weights weights = tiny::generator_weights();
  tiny::keep_activations_positive(weights);
  const auto smooth = tiny::load_generator(weights);
  const StyleStatistics own = styleclip::style_statistics(*smooth, 500, {}, {});
  SweepOptions options = options_of(1, 8);
  options.images = 16;
  const auto slopes = [&](const std::string& method, double step) {
    options.sigmas = step;
    return sweeps::differences(method, own, options, *smooth).mean(1) / step;
  };
  const at::Tensor near = slopes("reference", kStep), middle = slopes("reference", 2 * kStep),
                   far = slopes("reference", 4 * kStep);
  const at::Tensor limit = (4 * near - middle) / 3, further = (4 * middle - far) / 3;
  const double apart = sweeps::embeddings_apart(weights).square().mean().sqrt().item<double>();
  const double noise = 3 * std::hypot(4.0 / 3, 1.0 / 6) * apart / std::sqrt(16.0) / kStep;
  const at::Tensor bound = (further - limit).norm(2, 1) + noise;
  const at::Tensor slope = slopes("gradient", 1);
  CHECK(((slope - limit).norm(2, 1) / bound).max().item<double>() < 1);
  CHECK((bound / near.norm(2, 1)).median().item<double>() < 0.01);  // it would see an error of a hundredth

  options = options_of(1, 8);
  const auto sweep = [&] { return styleclip::sweep("gradient", *smooth, tiny::clip(), own, options, {}); };
  const RelevanceRows rows = sweep();
  CHECK(rows.implementation == "gradient");
  CHECK(rows.images == options.images * tiny::clip().embedding_dim());
  // There and back in other orders; and both tables' rounding.
  const double orders = tiny::orders_apart(2 * (tiny::synthesis_terms(weights) + tiny::kClipTerms)) + 0x1p-23;
  for (const std::int64_t batch : {1, 7, 24, 64}) {
    options.batch = batch;
    CHECK((sweep().rows - rows.rows).norm(2, 1).max().item<double>() <= orders);
  }
}

// A slope times a step: all that differs is that the two values of a step are rounded to float32, and that tables are.
TEST_CASE("gradient: a step of twice the size doubles the differences and turns no row") {
  const auto rounding = [](const SweepOptions& options) {
    const auto inputs = styleclip::make_sweep_inputs(tiny::generator(), statistics(), options, {});
    const at::Tensor sizes = inputs.plus.abs() + inputs.minus.abs(), step = (inputs.plus - inputs.minus).abs();
    return at::amax(0x1p-24 * sizes / step, {1}) + 0x1p-24;
  };
  const RelevanceRows one = run("gradient", options_of(1, 8));
  const RelevanceRows two = run("gradient", options_of(2, 8));
  const at::Tensor bound = rounding(options_of(1, 8)) + rounding(options_of(2, 8)) + 0x1p-23;
  CHECK(((two.magnitude / (2 * one.magnitude) - 1).abs() / bound).max().item<double>() <= 1);
  CHECK((one.rows - two.rows).norm(2, 1).max().item<double>() <= 0x1p-23);
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
    options.channels = {1, 7, 8, 20};
    const RelevanceRows some = run(method, options);
    CHECK(some.channels == options.channels);
    // Three pictures are too few for adaptive to end early, which leaves exact.
    const at::Tensor d = sweeps::differences(method == "adaptive" ? "exact" : method, statistics(), options_of(3, 8));
    sweeps::check_rows(some, sweeps::directs(d.index_select(0, at::tensor(options.channels, at::kLong)), some.counts),
                       sweeps::embedding_noise());
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
