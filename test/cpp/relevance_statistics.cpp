// Style statistics against a direct computation, latent by latent, two passes in float64; and batch sizes from memory.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>

#include "relevance/batching.h"
#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace {

using styleclip::ErrorCode;
using styleclip::SampleSettings;
using styleclip::StyleLayout;
using styleclip::StyleStatistics;

StyleStatistics made(std::int64_t samples, const SampleSettings& settings = {}) {
  return styleclip::style_statistics(tiny::generator(), samples, settings, {});
}

TEST_CASE("mean and σ of every channel: the two-pass formula over single latents") {
  styleclip::Generator& generator = tiny::generator();
  constexpr std::int64_t kSamples = 601;  // two whole blocks and a rest
  SampleSettings settings;
  settings.seed = 17;
  settings.truncation_psi = 0.8;
  settings.truncation_cutoff = 3;
  std::vector<at::Tensor> styles;
  for (std::int64_t i = 0; i < kSamples; ++i) {
    const at::Tensor w = generator.mapping(generator.sample_z(1, 17, i));
    styles.push_back(generator.styles(generator.truncate(w, 0.8, 3)).to(at::kDouble));
  }
  const at::Tensor all = at::cat(styles);
  const at::Tensor mean = all.mean(0);
  const at::Tensor sigma = (all - mean).square().mean(0).sqrt();

  const StyleStatistics statistics = made(kSamples, settings);
  CHECK(statistics.samples == kSamples);
  REQUIRE(statistics.mean.size(0) == generator.layout().total());
  // A style is a float32 sum of some ten products: a few 2⁻²⁴ of the largest |style| between two orders of summation.
  const double rounding = 8 * std::ldexp(1.0, -24) * all.abs().max().item<double>();
  CHECK((statistics.mean.to(at::kDouble) - mean).abs().max().item<double>() < rounding);
  CHECK((statistics.sigma.to(at::kDouble) - sigma).abs().max().item<double>() < rounding);
  CHECK(sigma.min().item<double>() > 1000 * rounding);  // so the comparison means something
}

TEST_CASE("seeded: the same seed the same numbers, another seed others; one sample has σ = 0") {
  CHECK(at::equal(made(300).mean, made(300).mean));
  SampleSettings other;
  other.seed = 1;
  CHECK_FALSE(at::equal(made(300).mean, made(300, other).mean));
  CHECK(made(1).sigma.abs().max().item<double>() == 0);
}

TEST_CASE("truncation: psi 0 leaves the mean latent alone; a cutoff leaves later rows as they are") {
  SampleSettings none;
  none.truncation_psi = 0;
  // w_avg + 0 · (w − w_avg) is w_avg; what is left is the rounding of one style value against another.
  CHECK(made(300, none).sigma.max().item<double>() < 1e-6);
  SampleSettings cut = none;
  cut.truncation_cutoff = 2;
  const StyleStatistics statistics = made(300, cut);
  for (const auto& layer : tiny::generator().layout().layers) {
    const double sigma = statistics.sigma.narrow(0, layer.offset, layer.channels).max().item<double>();
    CAPTURE(layer.name);
    if (layer.w_row < 2) {
      CHECK(sigma < 1e-6);
    } else {
      CHECK(sigma > 0.01);
    }
  }
}

TEST_CASE("bad settings, broken models, cancelling") {
  CHECK(tiny::error_of([] { (void)made(0); }).code() == ErrorCode::Range);
  SampleSettings settings;
  settings.truncation_psi = std::nan("");
  CHECK(tiny::error_of([&] { (void)made(10, settings); }).code() == ErrorCode::Range);

  tiny::Weights weights = tiny::generator_weights();
  tiny::overflow_style(weights, "to_rgbs.0", 1);
  const auto generator = tiny::load_generator(weights);
  const auto error = tiny::error_of([&] { (void)styleclip::style_statistics(*generator, 10, {}, {}); });
  CHECK(error.code() == ErrorCode::NotFinite);
  CHECK(std::string(error.what()).find("b8.torgb channel 1") != std::string::npos);

  styleclip::CancelFlag cancel;
  cancel.set();
  styleclip::RunContext run;
  run.cancel = &cancel;
  CHECK_THROWS_AS((void)styleclip::style_statistics(tiny::generator(), 10, {}, run), styleclip::Aborted);
}

TEST_CASE("batches: what was asked for, else what fits, at least one, and no more than is of use") {
  using styleclip::choose_batch;
  CHECK(choose_batch(7, 1, 1000, "cpu") == 7);
  CHECK(choose_batch(0, 10'000, 1000, "cpu") == 10);
  CHECK(choose_batch(0, 10, 1000, "cpu") == 1);
  const std::int64_t most = choose_batch(0, std::int64_t{1} << 60, 1, "cpu");
  CHECK(most > 1);
  CHECK(most <= 1024);
  CHECK(choose_batch(0, 0, 1, "cpu") == most);  // this machine has more than a few kilobytes free
  CHECK(tiny::error_of([] { (void)choose_batch(-1, 0, 1, "cpu"); }).code() == ErrorCode::Range);
  CHECK(styleclip::free_memory("cpu") > (1 << 20));

  // 1024 px needs more than 8 x 32 x 1024² float32 numbers; a larger CLIP input needs more.
  const StyleLayout large = StyleLayout::stylegan2(1024, {512, 512, 512, 512, 512, 256, 128, 64, 32});
  CHECK(styleclip::picture_bytes(large, 0) > std::int64_t{1} << 30);
  CHECK(styleclip::picture_bytes(large, 448) > styleclip::picture_bytes(large, 224));
}

}  // namespace
