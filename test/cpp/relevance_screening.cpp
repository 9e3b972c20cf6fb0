// The channels of one text: what is estimated from a part, against worlds of which the whole is known, and the screening of
// the tiny models against the exact sweep.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "relevance/screening.h"
#include "relevance_fixture.h"
#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace {

using styleclip::ErrorCode;
using styleclip::RelevanceRows;
using styleclip::ScreenedRows;
using styleclip::ScreenOptions;
using styleclip::SweepOptions;
using tiny::statistics;

SweepOptions settings(std::int64_t images) {
  SweepOptions options;
  options.images = images;
  options.sigmas = 3;
  options.layers = {"all"};
  return options;
}

ScreenOptions wanted(std::int64_t channels) {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(8);
  ScreenOptions screen;
  screen.text = at::randn({tiny::clip().embedding_dim()}, engine);
  screen.channels = channels;
  return screen;
}

ScreenedRows run(const SweepOptions& options, const ScreenOptions& screen) {
  return styleclip::sweep_screened(tiny::generator(), tiny::clip(), statistics(), options, screen, {});
}

// |r| of every row, ascending by channel.
at::Tensor relevances(const RelevanceRows& rows, const at::Tensor& text) {
  return at::matmul(rows.rows.to(at::kDouble), text.to(at::kDouble) / text.to(at::kDouble).norm()).abs();
}

// Channels [channels, pictures, dim] of unit differences: a direction each and scatter about it.
at::Tensor world(std::int64_t channels, std::int64_t pictures, std::int64_t dim, double scatter,
                 at::Generator& engine) {
  const at::Tensor centre = at::randn({channels, 1, dim}, engine, at::kDouble) / std::sqrt(dim);
  const at::Tensor own = at::randn({channels, pictures, dim}, engine, at::kDouble) * (scatter / std::sqrt(dim));
  const at::Tensor d = centre + own;
  return d / d.norm(2, 2, true);
}

at::Tensor unit_text(std::int64_t dim, at::Generator& engine) {
  const at::Tensor text = at::randn({dim}, engine, at::kDouble);
  return text / text.norm();
}

at::Tensor relevance_of(const at::Tensor& d, const at::Tensor& text) {
  const at::Tensor sum = d.sum(1);
  return (at::matmul(sum, text) / sum.norm(2, 1)).abs();
}

// What rounding makes of a relevance: |Σ d| and what it divides are sums of pictures times numbers, up to four times over
// (directions, lengths, products, their sums), each term rounded to float64; beside |Σ d|.
at::Tensor rounding_of(const at::Tensor& d) {
  const auto pictures = static_cast<double>(d.size(1)), numbers = static_cast<double>(d.size(2));
  return 4 * 0x1p-53 * pictures * numbers * pictures / d.sum(1).norm(2, 1);
}

styleclip::Sketch sketch_of(const at::Tensor& d, const at::Tensor& text, std::int64_t probes, at::Generator& engine) {
  const std::int64_t pictures = d.size(1), dim = d.size(2);
  styleclip::Sketch sketch;
  sketch.directions = at::empty({pictures, probes, dim}, at::kDouble);
  for (std::int64_t p = 0; p < pictures; ++p) {
    const at::Tensor normal = at::randn({dim, probes}, engine, at::kDouble);
    sketch.directions[p].copy_(std::get<0>(at::linalg_qr(normal)).t());
  }
  sketch.text = at::matmul(d, text);
  sketch.along = at::einsum("cpd,pkd->cpk", {d, sketch.directions});
  return sketch;
}

}  // namespace

TEST_CASE("a sketch with as many directions as the embedding has numbers is exact") {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(1);
  const at::Tensor text = unit_text(16, engine), unit = world(30, 20, 16, 0.7, engine);
  const at::Tensor d = unit * at::rand({30, 20, 1}, engine, at::kDouble).add_(0.1);  // lengths cancel
  const auto read = styleclip::read_sketch(sketch_of(d, text, 16, engine));
  CHECK(((read.relevance - relevance_of(unit, text)).abs() / rounding_of(unit)).max().item<double>() <= 1);
  // |t̂ · d̂| of at most 1: the directions, the length along them, its logarithm and back, t̂ · d: 16 terms each.
  CHECK((read.text - at::matmul(unit, text)).abs().max().item<double>() <= 4 * 16 * 0x1p-53);
}

// Of k directions in dim, |g|² is known to a relative √(2/k); over many pictures of their own directions that averages out.
TEST_CASE("a sketch of few directions tells relevances, and lengths better than their own probes do") {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(2);
  constexpr std::int64_t kPictures = 400, kDim = 64;
  const at::Tensor text = unit_text(kDim, engine), unit = world(40, kPictures, kDim, 0.8, engine);
  // Lengths of a channel times a picture, and a little of their own.
  const at::Tensor length =
      (at::randn({40, 1, 1}, engine, at::kDouble) + at::randn({1, kPictures, 1}, engine, at::kDouble) +
       0.1 * at::randn({40, kPictures, 1}, engine, at::kDouble))
          .exp();
  const styleclip::Sketch sketch = sketch_of(unit * length, text, 4, engine);
  const auto read = styleclip::read_sketch(sketch);
  const auto off = [&](const at::Tensor& lengths) {
    return (lengths / length.squeeze(2)).log().std(at::IntArrayRef({0, 1}), at::Scalar(0)).item<double>();
  };
  CHECK(read.text.abs().max().item<double>() <= 1);  // as of any unit vector
  const at::Tensor smoothed = sketch.text / read.text;
  CHECK(off(smoothed) < off(sketch.along.norm(2, 2)) / 2);
  // r = N / D. N is a sum of kPictures numbers of size 1/√dim, each as far off as its length. What sketches add to Σ d̂ has a
  // square of (dim / probes − 1) kPictures, which is taken off D²; its part along Σ d̂ stays, one of dim. Four deviations.
  const double extra = (kDim / 4.0 - 1) * kPictures;
  const at::Tensor sum = unit.sum(1).norm(2, 1), truth = relevance_of(unit, text);
  const at::Tensor deviation =
      off(smoothed) * std::sqrt(kPictures / static_cast<double>(kDim)) / sum + truth * std::sqrt(extra / kDim) / sum;
  CHECK(((read.relevance - truth).abs() / deviation).max().item<double>() < 4);
}

TEST_CASE("the estimate of a part errs as much as it says, and less with slopes that know the pictures") {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(3);
  constexpr std::int64_t kChannels = 60, kAll = 100, kDim = 32, kWorlds = 60;
  for (const std::int64_t count : {10, 35}) {
    CAPTURE(count);
    double told = 0, plain = 0, errors2 = 0, said2 = 0;
    for (std::int64_t i = 0; i < kWorlds; ++i) {
      const at::Tensor text = unit_text(kDim, engine), d = world(kChannels, kAll, kDim, 1, engine);
      const at::Tensor truth = relevance_of(d, text), along = at::matmul(d, text);
      const at::Tensor control = along + along.std() * 0.3 * at::randn(along.sizes(), engine, at::kDouble);
      const at::Tensor seen = d.narrow(1, 0, count);
      const auto with = styleclip::estimate_relevance(seen, text, control);
      const auto without = styleclip::estimate_relevance(seen, text, at::zeros({kChannels, kAll}, at::kDouble));
      told += (with.relevance - truth).square().sum().item<double>();
      plain += (without.relevance - truth).square().sum().item<double>();
      errors2 += (without.relevance - truth).square().sum().item<double>();
      said2 += without.error.square().sum().item<double>();
    }
    // A control that shares 0.92 of the variance could take it to a tenth, were its slope known and not estimated.
    CHECK(told < plain / 3);
    // What is said is of first order, the next is a 1/n of it; and three deviations of so many errors.
    const double sampling = 3 / std::sqrt(2.0 * kWorlds * kChannels);
    CHECK(std::abs(std::sqrt(said2 / errors2) - 1) < 1.0 / static_cast<double>(count) + sampling);
  }
  // All pictures: nothing is left to estimate.
  const at::Tensor text = unit_text(kDim, engine), d = world(kChannels, kAll, kDim, 1, engine);
  const auto whole = styleclip::estimate_relevance(d, text, at::matmul(d, text));
  CHECK(((whole.relevance - relevance_of(d, text)).abs() / rounding_of(d)).max().item<double>() <= 1);
  CHECK(whole.error.max().item<double>() == 0);
}

TEST_CASE("channels that move nothing in a picture, or in none, give numbers") {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(4);
  const at::Tensor text = unit_text(16, engine), d = world(5, 12, 16, 0.5, engine);
  d.select(0, 1).zero_();
  d.select(0, 2).narrow(0, 0, 6).zero_();
  const auto read = styleclip::read_sketch(sketch_of(d, text, 3, engine));
  CHECK(at::isfinite(read.relevance).all().item<bool>());
  CHECK(read.relevance[1].item<double>() == 0);
  const auto estimate = styleclip::estimate_relevance(d.narrow(1, 0, 6), text, read.text);
  CHECK(at::isfinite(estimate.relevance).all().item<bool>());
  CHECK(at::isfinite(estimate.error).all().item<bool>());
  CHECK(estimate.relevance[1].item<double>() == 0);
}

TEST_CASE("screened: exact rows of all pictures, of the channels that exact would choose, for fewer pictures") {
  const SweepOptions options = settings(60);
  const ScreenOptions screen = wanted(6);
  const RelevanceRows exact = styleclip::sweep_exact(tiny::generator(), tiny::clip(), statistics(), options, {});
  const ScreenedRows found = run(options, screen);
  CHECK(found.of == std::ssize(exact.channels));
  CHECK(found.candidates == 18);  // 3 times 6
  CHECK(found.rows.implementation == "exact");
  CHECK(std::ssize(found.rows.channels) < found.candidates);
  CHECK(found.probes == 9);  // 500 / 60
  CHECK(found.rows.images < 60 * (1 + found.probes) + 2 * 60 * found.candidates);

  const at::Tensor r = relevances(exact, screen.text);
  const at::Tensor best = std::get<1>(r.topk(screen.channels));
  for (std::int64_t i = 0; i < best.numel(); ++i) {
    const std::int64_t channel = exact.channels[static_cast<std::size_t>(best[i].item<std::int64_t>())];
    CHECK(std::binary_search(found.rows.channels.begin(), found.rows.channels.end(), channel));
  }
  std::vector<sweeps::Direct> rows;
  const std::vector<sweeps::Direct> all =
      sweeps::directs(sweeps::differences("exact", statistics(), options), exact.counts);
  for (const std::int64_t channel : found.rows.channels) {
    const auto there = std::lower_bound(exact.channels.begin(), exact.channels.end(), channel);
    rows.push_back(all[static_cast<std::size_t>(there - exact.channels.begin())]);
  }
  sweeps::check_rows(found.rows, rows, sweeps::embedding_noise());
  const ScreenedRows again = run(options, screen);
  CHECK(again.rows.channels == found.rows.channels);
  CHECK(at::equal(again.rows.rows, found.rows.rows));

  // A caller that needs no gradients, as the addon is one, changes nothing.
  const c10::InferenceMode inference;
  const ScreenedRows inferred = run(options, screen);
  CHECK(inferred.rows.channels == found.rows.channels);
  CHECK(at::equal(inferred.rows.rows, found.rows.rows));
}

TEST_CASE("screened: by a threshold, and by the automatic one") {
  const SweepOptions options = settings(40);
  ScreenOptions screen = wanted(6);
  const RelevanceRows exact = styleclip::sweep_exact(tiny::generator(), tiny::clip(), statistics(), options, {});
  const at::Tensor r = relevances(exact, screen.text);
  const auto all_found = [&](double beta) {
    const ScreenedRows found = run(options, screen);
    std::int64_t missed = 0;
    for (std::int64_t i = 0; i < r.numel(); ++i) {
      const std::int64_t channel = exact.channels[static_cast<std::size_t>(i)];
      if (r[i].item<double>() < beta) continue;
      missed += std::binary_search(found.rows.channels.begin(), found.rows.channels.end(), channel) ? 0 : 1;
    }
    CHECK(missed == 0);
    return std::ssize(found.rows.channels);
  };
  screen.beta = 0.3;
  CHECK(all_found(0.3) < r.numel());
  screen.beta = 1;
  screen.margin = 1;
  screen.probes = tiny::clip().embedding_dim();
  CHECK(tiny::error_of([&] { (void)run(options, screen); }).code() == ErrorCode::EmptySelection);
  screen.beta.reset();
  screen.margin = 4;
  screen.automatic = true;
  (void)all_found(0.29);  // the largest that it can be
}

TEST_CASE("screened: settings that make no sense, NaN, and a set flag") {
  const SweepOptions options = settings(4);
  const auto code = [&](const auto& change) {
    ScreenOptions screen = wanted(3);
    change(screen);
    return tiny::error_of([&] { (void)run(options, screen); }).code();
  };
  CHECK(code([](ScreenOptions& s) { s.text = at::ones({3}); }) == ErrorCode::Shape);
  CHECK(code([](ScreenOptions& s) { s.text = at::zeros_like(s.text); }) == ErrorCode::NotFinite);
  CHECK(code([](ScreenOptions& s) { s.channels = 0; }) == ErrorCode::Range);
  CHECK(code([](ScreenOptions& s) { s.margin = 0.9; }) == ErrorCode::Range);
  CHECK(code([](ScreenOptions& s) { s.probes = -1; }) == ErrorCode::Range);
  CHECK(code([](ScreenOptions& s) { s.beta = 1.1; }) == ErrorCode::Range);
  CHECK(code([](ScreenOptions& s) { s.confidence = 1; }) == ErrorCode::Range);

  tiny::Weights weights = tiny::generator_weights();
  weights["convs.1.noise.weight"].fill_(3e38);  // finite, until it is multiplied with noise
  const auto broken = tiny::load_generator(weights);
  const styleclip::Error error = tiny::error_of(
      [&] { (void)styleclip::sweep_screened(*broken, tiny::clip(), statistics(), options, wanted(3), {}); });
  CHECK(error.code() == ErrorCode::NotFinite);
  CHECK(std::string(error.what()).find("the output of b8.conv1 is not finite in channel 0") != std::string::npos);

  styleclip::CancelFlag cancel;
  cancel.set();
  styleclip::RunContext context;
  context.cancel = &cancel;
  CHECK_THROWS_AS(
      (void)styleclip::sweep_screened(tiny::generator(), tiny::clip(), statistics(), options, wanted(3), context),
      styleclip::Aborted);
}
