// What every method of the sweep does with what cannot go well, one table for all of them: channels that do not move or move
// nothing, models that break, settings and subsets that are none, and being told to stop.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "clip_forwards.h"
#include "relevance_fixture.h"
#include "shards_fixture.h"
#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace {

using sharding::names;
using styleclip::Clip;
using styleclip::Error;
using styleclip::ErrorCode;
using styleclip::Generator;
using styleclip::RelevanceRows;
using styleclip::RunContext;
using styleclip::StyleStatistics;
using styleclip::SweepOptions;
using tiny::statistics;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

StyleStatistics with_sigma(const std::vector<std::int64_t>& channels, double sigma) {
  StyleStatistics changed = statistics();
  changed.sigma = changed.sigma.clone();
  for (const std::int64_t channel : channels) changed.sigma[channel] = sigma;
  return changed;
}

std::int64_t flat(const std::string& layer, std::int64_t channel) {
  for (const auto& one : tiny::generator().layout().layers) {
    if (one.name == layer) return one.offset + channel;
  }
  FAIL("no such layer");
  return -1;
}

SweepOptions settings(std::int64_t images = 3, std::int64_t batch = 0) {
  SweepOptions options;
  options.images = images;
  options.sigmas = 3;
  options.layers = {"all"};
  options.batch = batch;
  return options;
}

// Every method, "screened" for a text of its own with all channels in question.
std::vector<std::string> methods() {
  std::vector<std::string> all = styleclip::sweep_methods();
  all.emplace_back("screened");
  return all;
}

RelevanceRows swept(const std::string& method, Generator& generator, Clip& clip, const StyleStatistics& with,
                    const SweepOptions& options, const RunContext& run = {}) {
  if (method != "screened") return styleclip::sweep(method, generator, clip, with, options, run);
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(8);
  styleclip::ScreenOptions screen;
  screen.text = at::randn({clip.embedding_dim()}, engine);
  screen.beta = 0;
  return styleclip::sweep_screened(generator, clip, with, options, screen, run).rows;
}

RelevanceRows swept(const std::string& method, const StyleStatistics& with, const SweepOptions& options) {
  return swept(method, tiny::generator(), tiny::clip(), with, options);
}

// The tiny models, with weights changed after they were loaded: files with NaN are refused before that.
std::shared_ptr<Generator> damaged_generator(const std::function<void(tiny::Weights&)>& damage) {
  const auto generator = tiny::load_generator(tiny::generator_weights());
  tiny::Weights own = generator->tensors();
  const c10::NoGradGuard no_grad;
  damage(own);
  return generator;
}

std::shared_ptr<Clip> damaged_clip(const std::function<void(tiny::Weights&)>& damage) {
  const tiny::TemporaryFile file(tiny::archive("clip", tiny::kClipConfig, nullptr));
  styleclip::LoadOptions options;
  options.device = "cpu";
  const auto clip = Clip::load(file.path(), options);
  tiny::Weights own = clip->tensors();
  const c10::NoGradGuard no_grad;
  damage(own);
  return clip;
}

void check_breaks(const std::string& method, Generator& generator, Clip& clip, const SweepOptions& options,
                  const std::string& where, const StyleStatistics& with = statistics()) {
  CAPTURE(method);
  CAPTURE(where);
  const Error error = tiny::error_of([&] { (void)swept(method, generator, clip, with, options); });
  const std::string said = error.what();
  CAPTURE(said);
  CHECK(error.code() == ErrorCode::NotFinite);
  CHECK(names(error, where));
}

}  // namespace

TEST_CASE(
    "bad input, every method: a channel of σ = 0, or of a σ that rounds away, has a zero row; the others are as "
    "before") {
  const std::vector<std::int64_t> still = {flat("b4.conv1", 2), flat("b8.torgb", 0), flat("b16.conv1", 3)};
  for (const std::string& method : methods()) {
    CAPTURE(method);
    const RelevanceRows before = swept(method, statistics(), settings());
    for (const double sigma : {0.0, 1e-30}) {
      const RelevanceRows rows = swept(method, with_sigma(still, sigma), settings());
      std::size_t compared = 0;
      for (std::size_t i = 0; i < before.channels.size(); ++i) {
        const std::int64_t channel = before.channels[i];
        const auto own = std::find(rows.channels.begin(), rows.channels.end(), channel) - rows.channels.begin();
        const bool moves = std::find(still.begin(), still.end(), channel) == still.end();
        CAPTURE(channel);
        if (own == std::ssize(rows.channels)) {
          CHECK(method == "screened");
          continue;
        }
        CHECK((rows.counts[own].item<std::int64_t>() > 0) == moves);
        if (!moves) {
          CHECK(rows.rows[own].abs().max().item<double>() == 0);
          CHECK(rows.magnitude[own].item<double>() == 0);
          CHECK(rows.concentration[own].item<double>() == 0);
        } else {
          const auto place = static_cast<std::int64_t>(i);
          const double apart = (rows.rows[own] - before.rows[place]).norm().item<double>();
          // As in relevance_exact.cpp: embeddings carry some 1e-6 of rounding.
          CHECK(apart * before.magnitude[place].item<double>() * before.concentration[place].item<double>() < 1e-5);
        }
        ++compared;
      }
      CHECK(compared >= before.channels.size() - still.size());
    }
  }
}

TEST_CASE("bad input, every method: σ = 0 everywhere gives a table of zeros, and nothing to screen") {
  StyleStatistics none = statistics();
  none.sigma = at::zeros_like(none.sigma);
  for (const std::string& method : methods()) {
    CAPTURE(method);
    if (method == "screened") {
      CHECK(tiny::error_of([&] { (void)swept(method, none, settings()); }).code() == ErrorCode::EmptySelection);
      continue;
    }
    const RelevanceRows rows = swept(method, none, settings());
    CHECK(std::ssize(rows.channels) == tiny::generator().layout().total());
    CHECK(rows.rows.abs().max().item<double>() == 0);
    CHECK(rows.magnitude.abs().max().item<double>() == 0);
    CHECK(rows.counts.sum().item<std::int64_t>() == 0);
    if (method != "gradient") CHECK(rows.images == 0);
  }
}

TEST_CASE("bad input, every method: pictures that never change give a table of zeros, and nothing to screen") {
  const auto blank = damaged_generator([](tiny::Weights& weights) {
    for (auto& [name, values] : weights) {
      if (name.starts_with("to_rgb") && name.ends_with("conv.weight")) values.zero_();
    }
  });
  for (const std::string& method : methods()) {
    CAPTURE(method);
    for (const std::int64_t batch : {0, 1, 5}) {
      CAPTURE(batch);
      if (method == "screened") {
        CHECK(tiny::error_of([&] {
                (void)swept(method, *blank, tiny::clip(), statistics(), settings(3, batch));
              }).code() == ErrorCode::EmptySelection);
        continue;
      }
      const RelevanceRows rows = swept(method, *blank, tiny::clip(), statistics(), settings(3, batch));
      CHECK(rows.counts.sum().item<std::int64_t>() == 0);
      CHECK(rows.rows.abs().max().item<double>() == 0);
      CHECK(rows.magnitude.abs().max().item<double>() == 0);
      CHECK(rows.concentration.abs().max().item<double>() == 0);
    }
  }
}

TEST_CASE("bad input, every method: a channel that nothing depends on has a zero row") {
  const auto dead =
      damaged_generator([](tiny::Weights& weights) { weights.at("convs.1.conv.weight").select(2, 3).zero_(); });
  const std::int64_t channel = flat("b8.conv1", 3);
  for (const std::string& method : methods()) {
    CAPTURE(method);
    const RelevanceRows rows = swept(method, *dead, tiny::clip(), statistics(), settings());
    const auto own = std::find(rows.channels.begin(), rows.channels.end(), channel) - rows.channels.begin();
    if (own == std::ssize(rows.channels)) {
      CHECK(method == "screened");
      continue;
    }
    CHECK(rows.counts.sum().item<std::int64_t>() > 0);
    if (method == "reference" && rows.counts[own].item<std::int64_t>() > 0) {
      // Its pictures are rendered apart from each other, in a batch that a library may round picture by picture.
      static const double noise = sweeps::embeddings_apart(dead->tensors()).max().item<double>();
      CHECK(rows.magnitude[own].item<double>() <= 2 * noise);
      continue;
    }
    CHECK(rows.counts[own].item<std::int64_t>() == 0);
    CHECK(rows.rows[own].abs().max().item<double>() == 0);
    CHECK(rows.magnitude[own].item<double>() == 0);
  }
}

TEST_CASE("bad input, every method: a broken generator is named by the layer and channel where numbers end") {
  struct Damage {
    std::string tensor, where;
    std::function<void(at::Tensor&)> set;
  };
  const std::vector<Damage> damages = {
      {"convs.2.conv.weight", "the output of b16.conv0 is not finite in channel 1",
       [](auto& x) { x[0][1][0][2][2] = kNaN; }},
      {"convs.1.activate.bias", "the output of b8.conv1 is not finite in channel 2", [](auto& x) { x[2] = kNaN; }},
      {"convs.1.noise.weight", "the output of b8.conv1 is not finite in channel 0", [](auto& x) { x.fill_(3e38); }},
      {"input.input", "the constant input is not finite in channel 3", [](auto& x) { x[0][3][1][1] = kNaN; }},
      {"to_rgb1.bias", "the output of b4.torgb is not finite in channel 1", [](auto& x) { x[0][1] = kNaN; }},
      {"to_rgbs.1.conv.weight", "the output of b16.torgb is not finite in channel 2",
       [](auto& x) { x[0][2][1] = kNaN; }},
      {"convs.0.conv.modulation.bias", "The style of b8.conv0 channel 2 is not a finite number",
       [](auto& x) { x[2] = kNaN; }},
      {"style.2.bias", "The mapping network's w of sample 0 is not finite in channel 4", [](auto& x) { x[4] = kNaN; }},
  };
  for (const Damage& damage : damages) {
    const auto broken = damaged_generator([&](tiny::Weights& weights) { damage.set(weights.at(damage.tensor)); });
    for (const std::string& method : methods()) check_breaks(method, *broken, tiny::clip(), settings(), damage.where);
    SweepOptions options = settings();
    options.preprocess = styleclip::Preprocess::Reference8;  // whose 8 bits know no NaN
    for (const char* method : {"exact", "reference"})
      check_breaks(method, *broken, tiny::clip(), options, damage.where);
  }
}

TEST_CASE("bad input: a broken generator that cannot be taken apart breaks in its picture") {
  const auto whole = damaged_generator([](tiny::Weights& weights) {
    weights.at("convs.0.conv.blur.kernel")[0][0] += 0.1;  // no product of two lines
    weights.at("to_rgbs.1.bias")[0][2] = kNaN;
  });
  for (const std::string method : {"exact", "reference", "adaptive", "gradient", "screened"}) {
    check_breaks(method, *whole, tiny::clip(), settings(),
                 "Sample picture 0 breaks with no style channel changed: the picture is not finite in channel 2");
  }
}

TEST_CASE("bad input, every method: a broken CLIP is told from the generator, with its weight") {
  const auto broken = damaged_clip([](tiny::Weights& weights) { weights.at("visual.proj")[5][1] = kNaN; });
  const auto flat_clip = damaged_clip([](tiny::Weights& weights) { weights.at("visual.proj").zero_(); });
  for (const std::string& method : methods()) {
    check_breaks(method, tiny::generator(), *broken, settings(),
                 "CLIP's embedding is not finite, though the picture is; its weight visual.proj is not, in row 5");
    check_breaks(method, tiny::generator(), *flat_clip, settings(), "CLIP's embedding has no length");
  }
}

TEST_CASE("bad input, every method: what breaks by one channel alone is named by it, and by where") {
  // ± 3.3e38 is a float32, until the convolution sums over it.
  const StyleStatistics far = with_sigma({flat("b16.conv0", 3)}, 1.1e38);
  for (const std::string& method : methods()) {
    check_breaks(method, tiny::generator(), tiny::clip(), settings(),
                 "Sample picture 0 breaks with b16.conv0 channel 3 at 3.3e+38: the output of b16.conv0 is not finite "
                 "in channel 0",
                 far);
  }
}

TEST_CASE("bad input: half precision that overflows is named, and float32 does not") {
  const auto large = damaged_generator([](tiny::Weights& weights) { weights.at("convs.1.activate.bias")[2] = 1e5; });
  for (const std::string method : {"exact", "stop-at", "adaptive"}) {
    SweepOptions options = settings();
    options.precision = styleclip::Precision::Float16;
    check_breaks(method, *large, tiny::clip(), options,
                 "the output of b8.conv1 is not finite in channel 2, in float16");
    options.precision = styleclip::Precision::Float32;
    CHECK(at::isfinite(swept(method, *large, tiny::clip(), statistics(), options).rows).all().item<bool>());
  }
}

TEST_CASE("bad input, every method: no pictures, layers and channels that do not exist") {
  const std::vector<std::pair<ErrorCode, std::function<void(SweepOptions&)>>> refused = {
      {ErrorCode::Range, [](auto& o) { o.images = 0; }},
      {ErrorCode::Range, [](auto& o) { o.images = -1; }},
      {ErrorCode::Range, [](auto& o) { o.sigmas = 0; }},
      {ErrorCode::Range, [](auto& o) { o.sigmas = kNaN; }},
      {ErrorCode::Range, [](auto& o) { o.batch = -1; }},
      {ErrorCode::Range, [](auto& o) { o.memory_bytes = -1; }},
      {ErrorCode::Argument, [](auto& o) { o.layers = {}; }},
      {ErrorCode::Argument, [](auto& o) { o.layers = {"conv", "b64.conv0"}; }},
      {ErrorCode::Argument, [](auto& o) { o.layers = {""}; }},
      {ErrorCode::Argument, [](auto& o) { o.channels = {-1}; }},
      {ErrorCode::Argument, [](auto& o) { o.channels = {0, 100000}; }},
      {ErrorCode::Argument, [](auto& o) { o.channels = {2, 1}; }},
      {ErrorCode::Argument, [](auto& o) { o.channels = {2, 2}; }},
      {ErrorCode::Argument, [](auto& o) { o.layers = {"b16.conv1"}, o.channels = {0}; }},
  };
  for (const std::string& method : methods()) {
    for (std::size_t i = 0; i < refused.size(); ++i) {
      CAPTURE(method);
      CAPTURE(i);
      SweepOptions options = settings();
      refused[i].second(options);
      CHECK(tiny::error_of([&] { (void)swept(method, statistics(), options); }).code() == refused[i].first);
    }
  }
}

TEST_CASE("bad input, every method: told to stop, no thread goes on beyond the batch that it is at") {
  const SweepOptions options = settings(30, 4);
  const auto threads = static_cast<std::ptrdiff_t>(at::get_num_threads());
  for (const std::string& method : methods()) {
    const clips::Forwards clip;
    (void)swept(method, statistics(), options);
    const std::ptrdiff_t whole = std::ssize(clips::Forwards::sizes());
    CHECK(whole > 3 * threads);  // slopes of 30 pictures are the fewest: 8 batches
    for (const std::string phase : {"sweep", "screen"}) {
      if (phase == "screen" && method != "screened") continue;
      CAPTURE(method);
      CAPTURE(phase);
      styleclip::CancelFlag cancel;
      RunContext run;
      run.cancel = &cancel;
      std::int64_t after = 0;
      run.progress = [&](const styleclip::Progress& progress) {
        after += cancel.is_set() ? 1 : 0;
        if (progress.phase != phase) return;
        cancel.set();
        (void)clips::Forwards::sizes();
      };
      CHECK_THROWS_AS((void)swept(method, tiny::generator(), tiny::clip(), statistics(), options, run),
                      styleclip::Aborted);
      CHECK(cancel.is_set());
      CHECK(after == 0);
      CHECK(std::ssize(clips::Forwards::sizes()) <= threads);

      std::int64_t reports = 0;
      run.progress = [&](const styleclip::Progress&) { ++reports; };
      CHECK_THROWS_AS((void)swept(method, tiny::generator(), tiny::clip(), statistics(), options, run),
                      styleclip::Aborted);
      CHECK(reports == 0);
      CHECK(clips::Forwards::sizes().empty());
    }
  }
}

TEST_CASE("bad input, every method in shards: settings of another sweep are refused by name, and stay as they were") {
  using sharding::Folder;
  using sharding::ShardedSweep;
  const auto open = [](const std::string& method, const Folder& folder, const SweepOptions& options) {
    return ShardedSweep::open(method, tiny::generator(), tiny::clip(), statistics(), options,
                              {folder.path(), 1, 1, 20, 0}, {});
  };
  struct Change {
    std::string method, name;
    std::function<void(SweepOptions&)> set;
  };
  std::vector<Change> changes = {
      {"exact", "precision", [](auto& o) { o.precision = styleclip::Precision::BFloat16; }},
      {"stop-at", "precision", [](auto& o) { o.precision = styleclip::Precision::BFloat16; }},
      {"stop-at", "stop_at is 8 there and 4 here", [](auto& o) { o.stop_at = 4; }},
      {"adaptive", "cosine", [](auto& o) { o.cosine = 0.5; }},
      {"adaptive", "confidence", [](auto& o) { o.confidence = 0.5; }},
  };
  for (const std::string& method : styleclip::sweep_methods()) {
    changes.push_back({method, "images is 3 there and 4 here", [](auto& o) { o.images = 4; }});
    changes.push_back({method, "sigmas", [](auto& o) { o.sigmas = 2; }});
    changes.push_back({method, "seed", [](auto& o) { o.samples.seed = 1; }});
    changes.push_back({method, "channels_sha256", [](auto& o) { o.channels = {1, 2}; }});
  }
  for (const std::string& method : styleclip::sweep_methods()) {
    CAPTURE(method);
    SweepOptions options = settings(3, 6);
    options.stop_at = 8;
    const Folder folder;
    (void)sharding::run_all(*open(method, folder, options));
    const auto before = folder.files();
    CHECK(before.size() > 1);
    for (const Change& change : changes) {
      if (change.method != method) continue;
      CAPTURE(change.name);
      SweepOptions other = options;
      change.set(other);
      const Error error = tiny::error_of([&] { (void)open(method, folder, other); });
      CHECK(error.code() == ErrorCode::ResumeMismatch);
      CHECK(names(error, change.name));
    }
    for (const std::string& another : styleclip::sweep_methods()) {
      if (another == method) continue;
      const Error error = tiny::error_of([&] { (void)open(another, folder, options); });
      CHECK(error.code() == ErrorCode::ResumeMismatch);
      CHECK(names(error, "method"));
    }
    CHECK(folder.files() == before);
  }
}

TEST_CASE("bad input, every method in shards: a model that breaks leaves whole shards and the plan") {
  using sharding::Folder;
  const auto broken = damaged_generator([](tiny::Weights& weights) { weights.at("convs.3.activate.bias")[0] = kNaN; });
  for (const std::string& method : styleclip::sweep_methods()) {
    CAPTURE(method);
    const Folder folder;
    const auto sweep = sharding::ShardedSweep::open(method, *broken, tiny::clip(), statistics(), settings(3, 6),
                                                    {folder.path(), 1, 1, 20, 0}, {});
    for (int again = 0; again < 2; ++again) {  // the same shard is next again
      const Error error = tiny::error_of([&] { (void)sweep->next({}); });
      CHECK(error.code() == ErrorCode::NotFinite);
      CHECK(names(error, "the output of b16.conv1 is not finite in channel 0"));
    }
    CHECK(folder.files().size() == 1);
    CHECK(folder.files().count("plan.json") == 1);
  }
}
