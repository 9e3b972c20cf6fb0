// The methods that paint less than the exact sweep, each against what it promises: stop-at against pictures put together
// from a smaller generator, adaptive against the exact rows of the pictures that it took.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "relevance/confidence.h"
#include "relevance/sweep_inputs.h"
#include "relevance_fixture.h"
#include "styleclip/relevance.h"
#include "styleclip/shards.h"
#include "tiny_world.h"

namespace {

using styleclip::ErrorCode;
using styleclip::RelevanceRows;
using styleclip::SweepOptions;
using tiny::statistics;

SweepOptions settings(std::vector<std::string> layers, std::int64_t images) {
  SweepOptions options;
  options.images = images;
  options.sigmas = 3;
  options.layers = std::move(layers);
  return options;
}

RelevanceRows sweep(const std::string& method, const SweepOptions& options) {
  return styleclip::sweep(method, tiny::generator(), tiny::clip(), statistics(), options, {});
}

// The layers of tiny::generator() up to 8 pixels, as a generator of its own.
std::shared_ptr<styleclip::Generator> generator_of_8() {
  tiny::Weights weights = tiny::generator_weights();
  for (const char* prefix : {"convs.2.", "convs.3.", "to_rgbs.1.", "noises.noise_3", "noises.noise_4"}) {
    std::erase_if(weights, [&](const auto& named) { return named.first.starts_with(prefix); });
  }
  constexpr const char* kConfig = R"({"image_size": 8, "channels": [6, 5], "z_width": 8, "style_width": 8,
                                      "mapping_layers": 2, "mapping_lr_multiplier": 1})";
  return tiny::load<styleclip::Generator>("stylegan2", kConfig, &weights);
}

// Twice the size through the filter [1, 3, 3, 1] (StyleGAN2's up-sampling of the picture so far).
at::Tensor twice(const at::Tensor& x) {
  const at::Tensor line = at::tensor({1.0, 3.0, 3.0, 1.0}) / 4.0;
  const at::Tensor filter = at::outer(line, line).to(x.scalar_type()).expand({3, 1, 4, 4});
  const std::int64_t n = x.size(0), r = x.size(2);
  at::Tensor spread = at::zeros({n, 3, 2 * r, 2 * r}, x.options());
  spread.slice(2, 0, 2 * r, 2).slice(3, 0, 2 * r, 2).copy_(x);
  return at::conv2d(at::constant_pad_nd(spread, {2, 1, 2, 1}), filter, {}, 1, at::IntArrayRef({0, 0}), 1, 3);
}

}  // namespace

TEST_CASE("stop-at: a picture is its own up to the resolution, the unchanged one's above") {
  SweepOptions options = settings({"all"}, 3);
  options.stop_at = 8;
  const RelevanceRows got = sweep("stop-at", options);
  CHECK(got.implementation == "stop-at");
  CHECK(got.images == 2 * 3 * std::ssize(got.channels));

  const auto small = generator_of_8();
  const std::int64_t low = small->layout().total();
  const auto inputs = styleclip::make_sweep_inputs(tiny::generator(), statistics(), options, {});
  const at::Tensor base_small = small->synthesis(inputs.base.narrow(1, 0, low), styleclip::NoiseMode::Const, 0, 0);
  const at::Tensor base = tiny::generator().synthesis(inputs.base, styleclip::NoiseMode::Const, 0, 0);
  const auto embedded_picture = [](const at::Tensor& pictures) {
    return sweeps::unit_embeddings(pictures, styleclip::Preprocess::Float);
  };
  const auto embedded = [&](std::int64_t channel, const at::Tensor& values) {
    at::Tensor codes = inputs.base.clone();
    codes.select(1, channel).copy_(values);
    if (channel >= low) {
      return embedded_picture(tiny::generator().synthesis(codes, styleclip::NoiseMode::Const, 0, 0));
    }
    const at::Tensor changed = small->synthesis(codes.narrow(1, 0, low), styleclip::NoiseMode::Const, 0, 0);
    return embedded_picture(base + twice(changed - base_small));
  };
  std::vector<sweeps::Direct> wanted;
  for (std::size_t i = 0; i < inputs.channels.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    wanted.push_back(sweeps::direct_of(embedded(inputs.channels[i], inputs.plus[row]) -
                                       embedded(inputs.channels[i], inputs.minus[row])));
  }
  // Three pictures' roundings are in each: the base's, and a difference of two.
  sweeps::check_rows(got, wanted, 3 * sweeps::embedding_noise());
  // It is another answer than the exact one.
  CHECK((sweep("exact", options).rows - got.rows).norm(2, 1).max().item<double>() > 1e-2);
}

TEST_CASE("stop-at: at the picture's own size it is the exact sweep; other sizes are refused by name") {
  SweepOptions options = settings({"all"}, 2);
  options.stop_at = 16;
  const RelevanceRows whole = sweep("stop-at", options);
  CHECK(at::equal(whole.rows, sweep("exact", options).rows));
  CHECK(whole.implementation == "exact");
  options.stop_at = 0;  // half of 16
  const RelevanceRows by_default = sweep("stop-at", options);
  options.stop_at = 8;
  CHECK(at::equal(by_default.rows, sweep("stop-at", options).rows));
  options.stop_at = 12;
  const auto error = tiny::error_of([&] { (void)sweep("stop-at", options); });
  CHECK(error.code() == ErrorCode::Range);
  CHECK(error.remedy().find("4, 8, 16") != std::string::npos);
}

TEST_CASE("Student's t has the values of the tables") {  // of six digits: half of the last is 5e-6 at most
  CHECK(styleclip::student_t(0.05, 1) == doctest::Approx(12.7062).epsilon(1e-5));
  CHECK(styleclip::student_t(0.05, 2) == doctest::Approx(4.30265).epsilon(1e-5));
  CHECK(styleclip::student_t(0.01, 9) == doctest::Approx(3.24984).epsilon(1e-5));
  CHECK(styleclip::student_t(0.05, 10) == doctest::Approx(2.22814).epsilon(1e-5));
  CHECK(styleclip::student_t(0.001, 100) == doctest::Approx(3.39049).epsilon(1e-5));
}

TEST_CASE("looks grow, end with all pictures, and add whole rounds of the threads") {
  CHECK(styleclip::looks_of(100, 8, 1.3) == std::vector<std::int64_t>{8, 11, 15, 20, 26, 34, 45, 59, 77, 100});
  CHECK(styleclip::looks_of(30, 8, 1.15, 2) == std::vector<std::int64_t>{8, 10, 12, 14, 18, 22, 26, 30});
  CHECK(styleclip::looks_of(100, 8, 1.15, 32) == std::vector<std::int64_t>{32, 64, 96, 100});
  CHECK(styleclip::looks_of(7, 8, 1.15, 2) == std::vector<std::int64_t>{7});
}

TEST_CASE("the cosine bound holds as often as it says, whatever way the directions scatter") {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(3);
  constexpr std::int64_t kAll = 100, kDim = 32, kWorlds = 2000;
  for (const std::int64_t scattering : {std::int64_t{1}, std::int64_t{5}, kDim - 1}) {  // dimensions that differ
    for (const std::int64_t count : {10, 34}) {
      constexpr double kTail = 0.05;
      std::int64_t wrong = 0;
      double bounds = 0;
      for (std::int64_t world = 0; world < kWorlds; ++world) {
        at::Tensor u = at::zeros({kAll, kDim}, at::kDouble);
        u.select(1, 0).fill_(1);
        u.narrow(1, 1, scattering).copy_(at::randn({kAll, scattering}, engine, at::kDouble) / std::sqrt(scattering));
        u = u / u.norm(2, 1, true);
        const at::Tensor part = u.narrow(0, 0, count).mean(0), whole = u.mean(0);
        const double bound = styleclip::cosine_bound(part.norm().item<double>(), count, kAll, kTail);
        bounds += bound;
        wrong += at::dot(part / part.norm(), whole / whole.norm()).item<double>() < bound ? 1 : 0;
      }
      CAPTURE(scattering);
      CAPTURE(count);
      // Three standard deviations of a share of 0.05 among 2000.
      CHECK(static_cast<double>(wrong) / kWorlds < kTail + 3 * std::sqrt(kTail * (1 - kTail) / kWorlds));
      CHECK(bounds / kWorlds > 0.5);  // it says something
    }
  }
  CHECK(styleclip::cosine_bound(0.9, 1, kAll, 0.05) == -1);
  CHECK(styleclip::cosine_bound(0, 50, kAll, 0.05) == -1);
  CHECK(styleclip::cosine_bound(0.01, 10, kAll, 0.05) == -1);
  CHECK(styleclip::cosine_bound(0.5, kAll, kAll, 0.05) == 1);
}

TEST_CASE("adaptive: a channel that ends early has the exact row of the pictures that it took") {
  SweepOptions options = settings({"all"}, 30);
  options.cosine = 0.9;
  const RelevanceRows all = sweep("exact", options);
  const RelevanceRows got = sweep("adaptive", options);
  const at::Tensor cosines = (all.rows * got.rows).sum(1);
  std::int64_t painted = 0, early = 0, missed = 0;
  for (std::int64_t row = 0; row < got.rows.size(0); ++row) {
    const auto looked = got.counts[row].item<std::int64_t>();
    CHECK((looked == 10 || looked == 15 || looked == 23 || looked == 30));
    painted += 2 * looked;
    early += looked < 30 ? 1 : 0;
    missed += cosines[row].item<double>() < options.cosine ? 1 : 0;
  }
  const at::Tensor d = sweeps::differences("exact", statistics(), options);
  sweeps::check_rows(got, sweeps::directs(d, got.counts), sweeps::embedding_noise());
  CHECK(painted == got.images);
  CHECK(early > 5);
  CHECK(early < got.rows.size(0));
  CHECK(missed <= 2);  // of 45 rows with a probability of at most 0.05 each
}

TEST_CASE("adaptive: in shards it is the same; progress ends where the work does") {
  SweepOptions options = settings({"conv"}, 20);
  options.cosine = 0.9;
  styleclip::Progress last;
  styleclip::RunContext run;
  run.progress = [&](const styleclip::Progress& progress) { last = progress; };
  const RelevanceRows whole = styleclip::sweep("adaptive", tiny::generator(), tiny::clip(), statistics(), options, run);
  CHECK(last.done == whole.images);
  CHECK(last.total == whole.images);
  CHECK(whole.images < 2 * 20 * std::ssize(whole.channels));

  const auto folder = std::filesystem::temp_directory_path() / ("styleclip-adaptive-" + std::to_string(getpid()));
  std::filesystem::remove_all(folder);
  styleclip::ShardOptions shards;
  shards.directory = folder.string();
  shards.rows = 7;
  auto sharded =
      styleclip::ShardedSweep::open("adaptive", tiny::generator(), tiny::clip(), statistics(), options, shards, {});
  std::int64_t rendered = 0;
  while (auto shard = sharded->next({})) {
    CHECK(shard->pictures == 20);
    rendered += shard->rendered;
  }
  const RelevanceRows merged = styleclip::merge_sweep(folder.string(), {}).rows;
  CHECK(rendered == merged.images);
  CHECK(at::equal(merged.counts, whole.counts));
  const at::Tensor d = sweeps::differences("exact", statistics(), options);
  sweeps::check_rows(merged, sweeps::directs(d, whole.counts), sweeps::embedding_noise());
  shards.pictures = 10;
  CHECK(tiny::error_of([&] {
          (void)styleclip::ShardedSweep::open("adaptive", tiny::generator(), tiny::clip(), statistics(), options,
                                              shards, {});
        }).code() == ErrorCode::Argument);
  std::filesystem::remove_all(folder);
}

TEST_CASE("adaptive: shares that are none") {
  for (const double value : {0.0, 1.0, -0.5, std::nan("")}) {
    SweepOptions options = settings({"conv"}, 2);
    options.cosine = value;
    CHECK(tiny::error_of([&] { (void)sweep("adaptive", options); }).code() == ErrorCode::Range);
    options.cosine = 0.9;
    options.confidence = value;
    CHECK(tiny::error_of([&] { (void)sweep("adaptive", options); }).code() == ErrorCode::Range);
  }
}
