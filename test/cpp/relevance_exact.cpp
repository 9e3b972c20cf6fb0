// The exact sweep against the readable one on the same models: every setting that changes what is rendered.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "relevance_fixture.h"
#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace {

using styleclip::NoiseMode;
using styleclip::Perturbation;
using styleclip::Preprocess;
using styleclip::RelevanceRows;
using styleclip::SweepOptions;

SweepOptions options_for(std::vector<std::string> layers) {
  SweepOptions options;
  options.images = 3;
  options.sigmas = 3;
  options.layers = std::move(layers);
  return options;
}

// Against the differences that the readable engine computes picture by picture. Where pictures are rounded to 8 bits, a
// value at the boundary may go to either side.
void compare(const SweepOptions& options) {
  static const auto statistics = styleclip::style_statistics(tiny::generator(), 500, {}, {});
  const RelevanceRows got = styleclip::sweep_exact(tiny::generator(), tiny::clip(), statistics, options, {});
  CHECK(got.images == 2 * options.images * std::ssize(got.channels));
  const double level = options.preprocess == Preprocess::Reference8 ? sweeps::level_noise(options) : 0;
  const at::Tensor d = sweeps::differences("reference", statistics, options);
  CHECK(got.counts.eq(options.images).all().item<bool>());
  sweeps::check_rows(got, sweeps::directs(d, got.counts), sweeps::embedding_noise(), level);
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
