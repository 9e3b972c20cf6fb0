// The exact sweep against the readable one on the same models: every setting that changes what is rendered.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

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

// Embeddings are computed in float32: a unit vector carries some 1e-6 of noise, and a difference of length |d| that much
// divided by |d|. Where pictures are rounded to 8 bits, a value at the boundary may go to either side.
void compare(const SweepOptions& options, double bound = 1e-5) {
  static const auto statistics = styleclip::style_statistics(tiny::generator(), 500, {}, {});
  const RelevanceRows wanted = styleclip::sweep_reference(tiny::generator(), tiny::clip(), statistics, options, {});
  const RelevanceRows got = styleclip::sweep_exact(tiny::generator(), tiny::clip(), statistics, options, {});
  CHECK(got.channels == wanted.channels);
  CHECK(at::equal(got.counts, wanted.counts));
  CHECK(got.images == wanted.images);
  const at::Tensor apart = (got.rows - wanted.rows).norm(2, 1) * wanted.magnitude * wanted.concentration;
  CHECK(apart.max().item<double>() < bound);
  CHECK((got.magnitude - wanted.magnitude).abs().max().item<double>() < bound);
  CHECK(wanted.magnitude.median().item<double>() > 1e-3);  // there is something to compare
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
  compare(options, 1e-4);
}
