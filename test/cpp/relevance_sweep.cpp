// The sweep against a direct computation: one picture at a time, one channel at a time, plain loops in float64 written
// here from the formula (StyleCLIP, section 6; styleclip.md A.3), sharing nothing with the sweep but the two models.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <tuple>
#include <vector>

#include "relevance_fixture.h"
#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace {

using styleclip::Error;
using styleclip::ErrorCode;
using styleclip::Perturbation;
using styleclip::RelevanceRows;
using styleclip::StyleStatistics;
using styleclip::SweepOptions;
using sweeps::Direct;
using sweeps::Vector;
using tiny::statistics;

constexpr std::int64_t kPictures = 5;
constexpr double kSame = 0x1p-23;  // of unit embeddings computed alike, one picture at a time

SweepOptions options_for(Perturbation perturbation, std::vector<std::string> layers, std::int64_t batch) {
  SweepOptions options;
  options.images = kPictures;
  options.sigmas = 3;
  options.perturbation = perturbation;
  options.layers = std::move(layers);
  options.batch = batch;
  return options;
}

RelevanceRows swept(const SweepOptions& options) {
  return styleclip::sweep_reference(tiny::generator(), tiny::clip(), statistics(), options, {});
}

double length_of(const Vector& x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return std::sqrt(sum);
}

// unit(CLIP(picture of one S code [1, total])), with the noise of picture `number` where it is random.
Vector unit_embedding(const at::Tensor& s, const SweepOptions& options, std::int64_t number) {
  const at::Tensor image = tiny::generator().synthesis(s, options.noise, options.samples.seed, number);
  const at::Tensor input = tiny::clip().preprocess(image, options.preprocess);
  const at::Tensor f = tiny::clip().encode_image(input).to(at::kDouble).contiguous();
  Vector x(f.const_data_ptr<double>(), f.const_data_ptr<double>() + f.numel());
  const double length = length_of(x);
  for (double& value : x) value /= length;
  return x;
}

at::Tensor base_code(const SweepOptions& options, std::int64_t number) {
  styleclip::Generator& generator = tiny::generator();
  const at::Tensor w = generator.mapping(generator.sample_z(1, options.samples.seed, number));
  return generator.styles(generator.truncate(w, options.samples.truncation_psi, options.samples.truncation_cutoff));
}

Direct compute_direct(std::int64_t channel, const SweepOptions& options) {
  const StyleStatistics stats = statistics();
  const double mean = stats.mean[channel].item<double>();
  const double sigma = stats.sigma[channel].item<double>();
  Direct result;
  for (std::int64_t m = 0; m < options.images; ++m) {
    const at::Tensor base = base_code(options, m);
    const double own = base[0][channel].item<double>();
    const double centre = options.perturbation == Perturbation::Absolute ? mean : own;
    const auto at_value = [&](double value) {
      at::Tensor s = base.clone();
      s[0][channel] = value;
      return unit_embedding(s, options, m);
    };
    Vector d = at_value(centre + options.sigmas * sigma);
    const Vector minus = at_value(centre - options.sigmas * sigma);
    for (std::size_t i = 0; i < d.size(); ++i) d[i] -= minus[i];
    result.lengths.push_back(length_of(d));
    if (result.row.empty()) result.row.assign(d.size(), 0.0);
    for (std::size_t i = 0; i < d.size(); ++i) result.row[i] += d[i] / result.lengths.back();
  }
  result.sum_length = length_of(result.row);
  for (double& value : result.row) value /= result.sum_length;
  return result;
}

// The same, computed once for each channel and each way of measuring.
const Direct& direct(std::int64_t channel, const SweepOptions& options) {
  using Key = std::tuple<std::int64_t, Perturbation, styleclip::Preprocess, styleclip::NoiseMode, double>;
  static std::map<Key, Direct> known;
  const Key key{channel, options.perturbation, options.preprocess, options.noise, options.sigmas};
  const auto found = known.find(key);
  return found != known.end() ? found->second : known.emplace(key, compute_direct(channel, options)).first->second;
}

void check_against_direct(const SweepOptions& options, double noise, double level = 0) {
  const RelevanceRows rows = swept(options);
  std::vector<Direct> wanted;
  for (const std::int64_t channel : rows.channels) wanted.push_back(direct(channel, options));
  sweeps::check_rows(rows, wanted, noise, level);
  CHECK(rows.images == std::ssize(rows.channels) * 2 * kPictures);
}

TEST_CASE("absolute, every channel with toRGB, picture by picture: the direct computation") {
  check_against_direct(options_for(Perturbation::Absolute, {"all"}, 1), kSame);
}

TEST_CASE("relative: the direct computation") {
  check_against_direct(options_for(Perturbation::Relative, {"conv"}, 1), kSame);
}

TEST_CASE("8-bit preprocessing: the direct computation") {
  // Picture by picture, as in the direct one: in a batch more than one value might round to the other level.
  SweepOptions options = options_for(Perturbation::Absolute, {"b8.conv0", "b16.torgb"}, 1);
  options.preprocess = styleclip::Preprocess::Reference8;
  options.sigmas = 5;
  check_against_direct(options, kSame, sweeps::level_noise(options));
}

TEST_CASE("batches: the direct computation within the embeddings' noise, whatever the batch size") {
  for (const std::int64_t batch : {2, 7, 10, 64}) {
    CAPTURE(batch);
    const SweepOptions options = options_for(Perturbation::Absolute, {"all"}, batch);
    check_against_direct(options, sweeps::embedding_noise());
  }
}

TEST_CASE("random noise: a picture's, by its number, and so that an unmoved picture has no difference") {
  SweepOptions options = options_for(Perturbation::Absolute, {"b16.conv1"}, 16);
  options.noise = styleclip::NoiseMode::Random;
  check_against_direct(options, sweeps::embedding_noise());
  options.batch = 1;
  check_against_direct(options, kSame);
  // A channel moved by next to nothing: other noise for the two signs would leave a difference of ordinary size.
  SweepOptions small = options;
  small.sigmas *= 1e-5;
  SweepOptions stored = options;
  stored.noise = styleclip::NoiseMode::Const;
  const RelevanceRows still = swept(small), of_stored = swept(stored);
  double least = 2;
  for (std::int64_t m = 0; m < kPictures; ++m) {
    const at::Tensor base = base_code(options, m);
    Vector apart = unit_embedding(base, options, m);
    const Vector other = unit_embedding(base, options, m + kPictures);
    for (std::size_t i = 0; i < apart.size(); ++i) apart[i] -= other[i];
    least = std::min(least, length_of(apart));
  }
  for (std::size_t i = 0; i < still.channels.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    double mean = 0;
    for (const double length : direct(still.channels[i], small).lengths) mean += length / kPictures;
    CHECK(std::abs(still.magnitude[at].item<double>() - mean) <= 2 * kSame + 0x1p-23 * mean);
    CHECK(mean + 2 * kSame < least);
    // And it is not the stored noise.
    const Direct& random = direct(still.channels[i], options);
    const double bound = sweeps::row_bound(random, kSame) + sweeps::row_bound(direct(still.channels[i], stored), kSame);
    CHECK(sweeps::distance(of_stored.rows[at], random.row) > bound + 0x1p-23);
  }
}

TEST_CASE("absolute and relative are different measurements") {
  const at::Tensor absolute = swept(options_for(Perturbation::Absolute, {"conv"}, 16)).rows;
  const at::Tensor relative = swept(options_for(Perturbation::Relative, {"conv"}, 16)).rows;
  CHECK((absolute * relative).sum(1).min().item<double>() < 0.999);
}

TEST_CASE("a channel's row does not depend on which others are swept: base codes are never written to") {
  const RelevanceRows all = swept(options_for(Perturbation::Absolute, {"all"}, 1));
  const RelevanceRows last = swept(options_for(Perturbation::Absolute, {"b16.conv1", "b16.torgb"}, 1));
  REQUIRE(last.channels.size() == 8);
  const std::int64_t offset = all.rows.size(0) - 8;
  CHECK(all.channels[static_cast<std::size_t>(offset)] == last.channels[0]);
  CHECK(at::equal(all.rows.narrow(0, offset, 8), last.rows));
  CHECK(at::equal(all.magnitude.narrow(0, offset, 8), last.magnitude));
}

TEST_CASE("rows have unit length, concentration lies in 0..1, the same settings give the same bits") {
  const SweepOptions options = options_for(Perturbation::Absolute, {"conv"}, 12);
  const RelevanceRows rows = swept(options);
  // Of exact length in float64, rounded to float32.
  CHECK((rows.rows.to(at::kDouble).norm(2, 1) - 1).abs().max().item<double>() <= 0x1p-24);
  CHECK(rows.concentration.min().item<double>() > 0);
  CHECK(rows.concentration.max().item<double>() <= 1);
  CHECK(rows.seconds > 0);
  CHECK(at::equal(rows.rows, swept(options).rows));
  SweepOptions other = options;
  other.samples.seed = 1;
  CHECK_FALSE(at::equal(rows.rows, swept(other).rows));
}

TEST_CASE("σ = 0: a zero row with count 0, not rendered; the others as before") {
  const SweepOptions options = options_for(Perturbation::Absolute, {"b8.conv1"}, 1);
  const RelevanceRows before = swept(options);
  StyleStatistics still = statistics();
  still.sigma = still.sigma.clone();
  still.sigma[before.channels[2]] = 0;
  const RelevanceRows rows = styleclip::sweep_reference(tiny::generator(), tiny::clip(), still, options, {});
  CHECK(rows.counts[2].item<std::int64_t>() == 0);
  CHECK(rows.rows[2].abs().max().item<double>() == 0);
  CHECK(rows.magnitude[2].item<double>() == 0);
  CHECK(rows.concentration[2].item<double>() == 0);
  CHECK(rows.images == before.images - 2 * kPictures);
  CHECK(at::equal(rows.rows[1], before.rows[1]));
  CHECK(at::equal(rows.rows[3], before.rows[3]));

  still.sigma.zero_();
  const RelevanceRows nothing = styleclip::sweep_reference(tiny::generator(), tiny::clip(), still, options, {});
  CHECK(nothing.images == 0);
  CHECK(nothing.counts.sum().item<std::int64_t>() == 0);
}

TEST_CASE("a channel whose pictures are not finite is named") {
  StyleStatistics broken = statistics();
  broken.sigma = broken.sigma.clone();
  const auto& layer = tiny::generator().layout().layers[5];  // b16.conv0
  broken.sigma[layer.offset + 3] = 1.1e38;                   // ± 3.3e38: a float32, until the convolution sums over it
  const Error error = tiny::error_of([&] {
    (void)styleclip::sweep_reference(tiny::generator(), tiny::clip(), broken,
                                     options_for(Perturbation::Absolute, {"conv"}, 16), {});
  });
  CHECK(error.code() == ErrorCode::NotFinite);
  CHECK(std::string(error.what()).find("b16.conv0 channel 3") != std::string::npos);

  tiny::Weights weights = tiny::generator_weights();
  tiny::overflow_style(weights, "conv1", 4);
  const auto generator = tiny::load_generator(weights);
  const Error named = tiny::error_of([&] {
    (void)styleclip::sweep_reference(*generator, tiny::clip(), statistics(),
                                     options_for(Perturbation::Absolute, {"conv"}, 16), {});
  });
  CHECK(named.code() == ErrorCode::NotFinite);
  CHECK(std::string(named.what()).find("b4.conv1 channel 4") != std::string::npos);
}

TEST_CASE("statistics that are not finite, negative or another generator's") {
  const SweepOptions options = options_for(Perturbation::Absolute, {"conv"}, 16);
  const auto code_with = [&](StyleStatistics stats) {
    return tiny::error_of(
               [&] { (void)styleclip::sweep_reference(tiny::generator(), tiny::clip(), stats, options, {}); })
        .code();
  };
  StyleStatistics stats = statistics();
  stats.mean = stats.mean.clone();
  stats.mean[7] = std::nan("");
  CHECK(code_with(stats) == ErrorCode::NotFinite);
  stats = statistics();
  stats.sigma = stats.sigma.clone();
  stats.sigma[7] = -1;
  CHECK(code_with(stats) == ErrorCode::Range);
  stats = statistics();
  stats.sigma = stats.sigma.narrow(0, 0, 10);
  CHECK(code_with(stats) == ErrorCode::Shape);
  CHECK(code_with({}) == ErrorCode::Shape);
}

TEST_CASE("settings out of range, and methods that do not exist") {
  const auto code_with = [](auto change) {
    SweepOptions options = options_for(Perturbation::Absolute, {"conv"}, 4);
    change(options);
    return tiny::error_of([&] { (void)swept(options); }).code();
  };
  CHECK(code_with([](auto& o) { o.images = 0; }) == ErrorCode::Range);
  CHECK(code_with([](auto& o) { o.sigmas = 0; }) == ErrorCode::Range);
  CHECK(code_with([](auto& o) { o.sigmas = std::nan(""); }) == ErrorCode::Range);
  CHECK(code_with([](auto& o) { o.batch = -1; }) == ErrorCode::Range);
  CHECK(code_with([](auto& o) { o.memory_bytes = -1; }) == ErrorCode::Range);
  CHECK(code_with([](auto& o) { o.samples.truncation_psi = std::nan(""); }) == ErrorCode::Range);
  CHECK(code_with([](auto& o) { o.layers = {"b64.conv0"}; }) == ErrorCode::Argument);
  CHECK(code_with([](auto& o) { o.layers = {}; }) == ErrorCode::Argument);

  const SweepOptions options = options_for(Perturbation::Absolute, {"b4.conv1"}, 4);
  CHECK(styleclip::sweep_methods() ==
        std::vector<std::string>{"reference", "exact", "stop-at", "adaptive", "gradient"});
  CHECK(at::equal(styleclip::sweep("reference", tiny::generator(), tiny::clip(), statistics(), options, {}).rows,
                  swept(options).rows));
  CHECK(tiny::error_of([&] {
          (void)styleclip::sweep("magic", tiny::generator(), tiny::clip(), statistics(), options, {});
        }).code() == ErrorCode::Argument);
}

TEST_CASE("progress counts pictures up to all of them; a set flag stops the sweep") {
  const SweepOptions options = options_for(Perturbation::Absolute, {"all"}, 4);
  styleclip::RunContext run;
  std::vector<styleclip::Progress> reports;
  run.progress = [&](const styleclip::Progress& progress) { reports.push_back(progress); };
  const RelevanceRows rows = styleclip::sweep_reference(tiny::generator(), tiny::clip(), statistics(), options, run);
  REQUIRE_FALSE(reports.empty());
  CHECK(reports.back().phase == "sweep");
  CHECK(reports.back().unit == "images");
  CHECK(reports.back().done == rows.images);
  CHECK(reports.back().total == rows.images);
  CHECK(reports.back().rate > 0);
  for (std::size_t i = 1; i < reports.size(); ++i) CHECK(reports[i].done > reports[i - 1].done);

  styleclip::CancelFlag cancel;
  run.cancel = &cancel;
  std::size_t after = 0;
  run.progress = [&](const styleclip::Progress&) {
    after += cancel.is_set();
    cancel.set();
  };
  CHECK_THROWS_AS((void)styleclip::sweep_reference(tiny::generator(), tiny::clip(), statistics(), options, run),
                  styleclip::Aborted);
  CHECK(after == 0);

  std::size_t calls = 0;
  run.progress = [&](const styleclip::Progress&) { ++calls; };
  CHECK_THROWS_AS((void)styleclip::sweep_reference(tiny::generator(), tiny::clip(), statistics(), options, run),
                  styleclip::Aborted);
  CHECK(calls == 0);
}

}  // namespace
