// The exact sweep against the readable one on the same models: every setting that changes what is rendered.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <limits>

#include "relevance/engines.h"
#include "relevance/sweep_inputs.h"
#include "relevance_fixture.h"
#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace {

using styleclip::NoiseMode;
using styleclip::Perturbation;
using styleclip::Preprocess;
using styleclip::RelevanceRows;
using styleclip::SweepOptions;
using tiny::statistics;

SweepOptions options_for(std::vector<std::string> layers) {
  SweepOptions options;
  options.images = 3;
  options.sigmas = 3;
  options.layers = std::move(layers);
  return options;
}

RelevanceRows swept(const SweepOptions& options, styleclip::ExactWay way) {
  const styleclip::RunContext run;
  const auto inputs = styleclip::make_sweep_inputs(tiny::generator(), statistics(), options, run);
  const auto engine = styleclip::make_exact_engine({tiny::generator(), tiny::clip(), inputs, options, run}, 0, way);
  CHECK(engine->implementation() == "exact");
  const auto rows = std::ssize(inputs.moving);
  styleclip::RelevanceSums sums(rows, tiny::clip().embedding_dim(), at::kCPU);
  styleclip::ProgressMeter meter(run, "sweep", 2 * rows * options.images, "images");
  const std::int64_t pictures = engine->run({0, rows, 0, options.images}, sums, meter);
  RelevanceRows result = styleclip::finish_rows(sums, inputs.channels, inputs.moving, options.images);
  result.images = pictures;
  return result;
}

// Against the differences that the readable engine computes picture by picture. Where pictures are rounded to 8 bits, a
// value at the boundary may go to either side.
void compare(const SweepOptions& options, const RelevanceRows& got) {
  CHECK(got.images == 2 * options.images * std::ssize(got.channels));
  const double level = options.preprocess == Preprocess::Reference8 ? sweeps::level_noise(options) : 0;
  const at::Tensor d = sweeps::differences("reference", statistics(), options);
  CHECK(got.counts.eq(options.images).all().item<bool>());
  sweeps::check_rows(got, sweeps::directs(d, got.counts), sweeps::embedding_noise(), level);
}

void compare(const SweepOptions& options) {
  compare(options, styleclip::sweep_exact(tiny::generator(), tiny::clip(), statistics(), options, {}));
}

}  // namespace

TEST_CASE("the exact sweep: every layer, both perturbations") {
  SweepOptions options = options_for({"all"});
  compare(options);
  options.perturbation = Perturbation::Relative;
  compare(options);
}

TEST_CASE("the exact sweep: batches of any size give the same") {
  SweepOptions options = options_for({"conv"});
  for (const std::int64_t batch : {1, 2, 3, 5, 64}) {
    options.batch = batch;
    compare(options);
  }
}

TEST_CASE("the exact sweep: noise modes and the released code's 8 bits") {
  SweepOptions options = options_for({"all"});
  options.noise = NoiseMode::None;
  compare(options);
  options.noise = NoiseMode::Random;
  compare(options);
  options.noise = NoiseMode::Const;
  options.preprocess = Preprocess::Reference8;
  options.layers = {"b8.conv1", "b16.torgb"};
  compare(options);
}

TEST_CASE("the exact sweep as another device runs it, by libtorch's own operators") {
  SweepOptions options = options_for({"all"});
  for (const std::int64_t batch : {0, 5, 64}) {
    options.batch = batch;
    compare(options, swept(options, styleclip::ExactWay::Batches));
  }
  options.perturbation = Perturbation::Relative;
  options.noise = NoiseMode::Random;
  compare(options, swept(options, styleclip::ExactWay::Batches));
  options.preprocess = Preprocess::Reference8;
  options.noise = NoiseMode::Const;
  options.perturbation = Perturbation::Absolute;
  options.layers = {"b8.conv1", "b16.torgb"};
  compare(options, swept(options, styleclip::ExactWay::Batches));
}

TEST_CASE("pictures that are the same bit for bit, on any device: as memcmp says") {
  constexpr std::int64_t kNumbers = 12;
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  const std::array<double, 6> values = {0.0, -0.0, 1.0, nan, infinity, -infinity};
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    CAPTURE(type);
    at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(5);
    const auto pairs = static_cast<std::int64_t>(2 * values.size() * values.size());
    const at::Tensor plus = at::randn({pairs, 3, 2, 2}, engine).to(type);
    const at::Tensor minus = plus.clone();
    std::int64_t pair = 0;
    for (const double a : values) {
      for (const double b : values) {
        for (const std::int64_t place : {std::int64_t{0}, kNumbers - 1}) {
          plus[pair].view(-1)[place].fill_(a);
          minus[pair++].view(-1)[place].fill_(b);
        }
      }
    }
    const at::Tensor same = styleclip::same_bits(plus, minus);
    REQUIRE(same.numel() == pairs);
    const auto bytes = static_cast<std::size_t>(plus[0].nbytes());
    std::int64_t equal = 0;
    for (std::int64_t i = 0; i < pairs; ++i) {
      const bool alike = std::memcmp(plus[i].const_data_ptr(), minus[i].const_data_ptr(), bytes) == 0;
      CHECK(same[i].item<bool>() == alike);
      equal += alike ? 1 : 0;
    }
    CHECK(equal == static_cast<std::int64_t>(2 * values.size()));  // −0 is not 0, and NaN is itself
    CHECK(styleclip::same_bits(plus.narrow(0, 0, 0), minus.narrow(0, 0, 0)).sizes() == at::IntArrayRef{0});
    CHECK(static_cast<std::int64_t>(same.itemsize()) * kNumbers == styleclip::alike_bytes(kNumbers));
  }
}
