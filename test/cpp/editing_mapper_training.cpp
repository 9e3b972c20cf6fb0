// The mapper's training on a random world: Ranger against its formulas in plain double arithmetic, then what a run has to
// keep: falling losses, missing levels, latents that depend on the step alone, going on to the same bits, and its ends.
#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/optim/adam.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "editing/ranger.h"
#include "styleclip/training.h"
#include "tiny_world.h"

namespace {

using styleclip::ErrorCode;
using styleclip::Mapper;
using styleclip::MapperLogEntry;
using styleclip::MapperTrainer;
using styleclip::MapperTrainingOptions;
using styleclip::MapperTrainingState;
using styleclip::ParameterOptimizer;
using styleclip::TrainingEnd;
using styleclip::TrainingOptimizer;

// 10 rows, enough for three levels.
const char* const kGenerator =
    R"({"image_size": 64, "channels": [6, 5, 4, 3, 3], "z_width": 8, "style_width": 8, "mapping_layers": 2})";

styleclip::Generator& generator() {
  static const auto model = tiny::load<styleclip::Generator>("stylegan2", kGenerator, nullptr, 7);
  return *model;
}
std::shared_ptr<Mapper> fresh(const std::string& levels = R"(["coarse", "medium", "fine"])") {
  return tiny::load<Mapper>("mapper", R"({"rows": 10, "style_width": 8, "levels": )" + levels + "}", nullptr, 7);
}
std::shared_ptr<Mapper> fresh_in_s() {
  std::string channels;
  for (const styleclip::StyleLayer& layer : generator().layout().layers) {
    channels += (channels.empty() ? "" : ", ") + std::to_string(layer.channels);
  }
  return tiny::load<Mapper>("mapper", R"({"space": "s", "channels": [)" + channels + "]}", nullptr, 7);
}

at::Tensor random(std::vector<std::int64_t> shape, std::uint64_t seed) {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(seed);
  return tiny::normal(engine, std::move(shape));
}
at::Tensor text() { return random({1, tiny::clip().embedding_dim()}, 3); }
at::Tensor validation(const std::string& space = "w_plus") {
  return MapperTrainer::sample(generator(), space, 4, 0, 1 << 30, 0.7);
}

MapperTrainingOptions short_options() {
  MapperTrainingOptions options;
  options.steps = 12;
  options.validate_every = 4;
  options.objective.lambda_l2 = 0.1;
  return options;
}

bool same(const MapperTrainingState& a, const MapperTrainingState& b) {
  if (a.tensors.size() != b.tensors.size() || a.step != b.step || a.best_step != b.best_step || a.best != b.best) {
    return false;
  }
  for (const auto& [name, tensor] : a.tensors) {
    if (!at::equal(tensor, b.tensors.at(name))) return false;
  }
  return true;
}

std::map<std::string, at::Tensor> weights_of(const Mapper& mapper) {
  std::map<std::string, at::Tensor> copies;
  for (const auto& [name, tensor] : mapper.tensors()) copies[name] = tensor.detach().clone();
  return copies;
}

// styleclip.md H.6 in scalars: one matrix [2][3], one vector [2] behind it.
struct PlainRanger {
  std::array<double, 8> weight{}, m{}, v{}, slow{};
  int t = 0;

  void step(std::array<double, 8> g, double rate) {
    for (std::size_t row = 0; row < 2; ++row) {
      const double mean = (g[row * 3] + g[row * 3 + 1] + g[row * 3 + 2]) / 3;
      for (std::size_t i = 0; i < 3; ++i) g[row * 3 + i] -= mean;
    }
    if (t++ == 0) slow = weight;
    const double b1 = std::pow(0.95, t), b2 = std::pow(0.999, t);
    const double n = 1999 - 2 * t * b2 / (1 - b2);
    const double factor =
        n > 5 ? std::sqrt((1 - b2) * (n - 4) / 1995 * (n - 2) / n * 1999 / 1997) / (1 - b1) : 1 / (1 - b1);
    for (std::size_t i = 0; i < 8; ++i) {
      m[i] = 0.95 * m[i] + 0.05 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      weight[i] -= rate * factor * m[i] / (n > 5 ? std::sqrt(v[i]) + 1e-5 : 1);
      if (t % 6 == 0) weight[i] = slow[i] = slow[i] + 0.5 * (weight[i] - slow[i]);
    }
  }
};

TEST_CASE("ranger: twenty steps are those of the formulas, in float64 and float32") {
  for (const auto& [type, tolerance] : {std::pair{at::kDouble, 1e-13}, std::pair{at::kFloat, 2e-5}}) {
    const at::Tensor start = random({8}, 1), gradients = random({20, 8}, 2);
    PlainRanger plain;
    for (std::int64_t i = 0; i < 8; ++i) plain.weight[static_cast<std::size_t>(i)] = start[i].item<double>();
    std::vector<at::Tensor> parameters = {start.narrow(0, 0, 6).view({2, 3}).to(type, false, true),
                                          start.narrow(0, 6, 2).to(type, false, true)};
    ParameterOptimizer optimizer(TrainingOptimizer::Ranger, 0.1, parameters);
    for (std::int64_t step = 0; step < 20; ++step) {
      std::array<double, 8> g{};
      for (std::int64_t i = 0; i < 8; ++i) g[static_cast<std::size_t>(i)] = gradients[step][i].item<double>();
      plain.step(g, 0.1);
      optimizer.step({gradients[step].narrow(0, 0, 6).view({2, 3}).to(type), gradients[step].narrow(0, 6, 2).to(type)});
      const at::Tensor flat = at::cat({parameters[0].flatten(), parameters[1]}).to(at::kDouble);
      for (std::int64_t i = 0; i < 8; ++i) {
        CHECK(std::abs(flat[i].item<double>() - plain.weight[static_cast<std::size_t>(i)]) < tolerance);
      }
    }
  }
}

TEST_CASE("adam: the steps are libtorch's") {
  at::Tensor own = random({2, 3}, 1), theirs = own.clone().requires_grad_(true);
  ParameterOptimizer optimizer(TrainingOptimizer::Adam, 0.1, {own});
  torch::optim::Adam adam({theirs}, torch::optim::AdamOptions(0.1));
  for (std::uint64_t step = 0; step < 10; ++step) {
    const at::Tensor gradient = random({2, 3}, 10 + step);
    optimizer.step({gradient});
    theirs.mutable_grad() = gradient;
    adam.step();
    CHECK((own - theirs).abs().max().item<double>() < 1e-6);
  }
}

TEST_CASE("mapper training: the validation's loss falls, with both optimisers and in both spaces") {
  for (const TrainingOptimizer kind : {TrainingOptimizer::Ranger, TrainingOptimizer::Adam}) {
    for (const bool in_s : {false, true}) {
      MapperTrainingOptions options = short_options();
      options.optimizer = kind;
      options.steps = 24;
      // Light L2: with a heavy one the loss falls by the mapper's doing less and less, whatever CLIP says.
      options.objective.lambda_l2 = 0.1;
      options.objective.lambda_id = 0.1;
      // RAdam holds its first steps back until it knows the second moment: long ones, so that a few show.
      if (kind == TrainingOptimizer::Ranger) options.learning_rate = 200;
      const auto mapper = in_s ? fresh_in_s() : fresh();
      MapperTrainer trainer(generator(), tiny::clip(), &tiny::identity(), mapper, text(), {},
                            validation(in_s ? "s" : "w_plus"), options, {});
      CHECK_FALSE(trainer.advance(100, {}));
      CHECK(trainer.end() == TrainingEnd::Steps);
      const std::vector<MapperLogEntry> log = trainer.take_log();
      CHECK(log.size() == 24 + 7);
      std::vector<MapperLogEntry> validations;
      for (const MapperLogEntry& entry : log) {
        const styleclip::MapperLoss& loss = entry.loss;
        CHECK(loss.total == doctest::Approx(loss.clip + 0.1 * loss.l2 + 0.1 * loss.id).epsilon(1e-5));
        CHECK(loss.l2 > 0);
        if (entry.validation) validations.push_back(entry);
      }
      CHECK(trainer.best() < validations.front().loss.total - 1e-4);
      // It falls because the pictures come nearer to the text.
      const auto& nearest = *std::min_element(validations.begin(), validations.end(),
                                              [](const auto& a, const auto& b) { return a.loss.total < b.loss.total; });
      INFO(validations.front().loss.clip << " -> " << nearest.loss.clip);
      CHECK(nearest.loss.clip < validations.front().loss.clip - 5e-4);
      double lowest = std::numeric_limits<double>::infinity();
      for (const MapperLogEntry& entry : validations) {
        CHECK(entry.best == (entry.loss.total < lowest));
        lowest = std::min(lowest, entry.loss.total);
        if (entry.best) CHECK((entry.step == trainer.best_step() || entry.loss.total > trainer.best()));
      }
      CHECK(trainer.best() == lowest);
      CHECK(trainer.take_log().empty());
    }
  }
}

TEST_CASE("mapper training: the loss in S sums the layers' means, toRGB stays") {
  const auto mapper = fresh_in_s();
  const at::Tensor latents = validation("s");
  MapperTrainingOptions options = short_options();
  options.steps = 1;
  MapperTrainer trainer(generator(), tiny::clip(), nullptr, mapper, text(), {}, latents, options, {});
  const at::Tensor change = mapper->apply(latents).detach() - latents;
  double expected = 0;
  for (const styleclip::StyleLayer& layer : generator().layout().layers) {
    const at::Tensor part = change.narrow(1, layer.offset, layer.channels);
    expected += part.square().mean().item<double>();
    CHECK((part.abs().max().item<double>() == 0) == layer.to_rgb);
  }
  trainer.advance(1, {});
  CHECK(trainer.take_log().front().loss.l2 == doctest::Approx(expected).epsilon(1e-5));
}

TEST_CASE("mapper training: levels that are off change nothing") {
  for (const std::string levels : {R"(["coarse"])", R"(["coarse", "fine"])"}) {
    const auto mapper = fresh(levels);
    MapperTrainer trainer(generator(), tiny::clip(), nullptr, mapper, text(), {}, validation(), short_options(), {});
    trainer.advance(12, {});
    const at::Tensor delta = mapper->delta(validation()).detach();
    CHECK(delta.narrow(1, 0, 4).abs().max().item<double>() > 0);
    CHECK(delta.narrow(1, 4, 4).abs().max().item<double>() == 0);
    CHECK((delta.narrow(1, 8, 2).abs().max().item<double>() == 0) == (levels == R"(["coarse"])"));
  }
}

TEST_CASE("mapper training: a run that was stopped goes on to the same bits, on drawn and on given latents") {
  for (const bool given : {false, true}) {
    // Five latents in batches of two: epochs end within a batch.
    const at::Tensor latents = given ? MapperTrainer::sample(generator(), "w_plus", 5, 9, 0, 0.7) : at::Tensor();
    const auto start = [&](const std::shared_ptr<Mapper>& mapper) {
      return std::make_unique<MapperTrainer>(generator(), tiny::clip(), nullptr, mapper, text(), latents, validation(),
                                             short_options(), styleclip::RunContext{});
    };
    const auto first = fresh(), second = fresh(), third = fresh();
    const auto whole = start(first);
    while (whole->advance(5, {})) {
    }
    const auto part = start(second);
    CHECK(part->advance(7, {}));
    styleclip::CancelFlag cancel;
    cancel.set();
    styleclip::RunContext stopped;
    stopped.cancel = &cancel;
    const MapperTrainingState before = part->state();
    CHECK_THROWS_AS(part->advance(1, stopped), styleclip::Aborted);
    CHECK(same(part->state(), before));
    const auto rest = start(third);
    rest->restore(before);
    CHECK_FALSE(rest->advance(100, {}));
    CHECK(same(rest->state(), whole->state()));
    const auto wanted = weights_of(*first);
    for (const auto& [name, tensor] : weights_of(*third)) CHECK(at::equal(tensor, wanted.at(name)));
  }
}

TEST_CASE("mapper training: the archive holds the best weights and says how they were made") {
  const auto mapper = fresh();
  MapperTrainer trainer(generator(), tiny::clip(), nullptr, mapper, text(), {}, validation(), short_options(), {});
  trainer.advance(100, {});
  const tiny::TemporaryFile file("");
  trainer.write_best(file.path(), "mine", R"({"target": "a cat"})", {});
  styleclip::LoadOptions options;
  options.device = "cpu";
  const auto read = Mapper::load(file.path(), options);
  const MapperTrainingState state = trainer.state();
  const auto written = read->tensors();
  CHECK(written.size() == 3 * 4 * 2);
  for (const auto& [name, tensor] : written) CHECK(at::equal(tensor, state.tensors.at("best/" + name)));
  CHECK(read->description().json.find("\"target\": \"a cat\"") != std::string::npos);
}

TEST_CASE("mapper training: what is no number ends a run at its best") {
  MapperTrainingOptions options = short_options();
  const auto mapper = fresh();
  at::Tensor broken = text();
  broken[0][0] = std::numeric_limits<float>::quiet_NaN();
  MapperTrainer never(generator(), tiny::clip(), nullptr, mapper, broken, {}, validation(), options, {});
  CHECK_FALSE(never.advance(1, {}));
  CHECK(never.end() == TrainingEnd::NotFinite);
  CHECK(never.step() == 0);

  // The L2 of a step this long is far beyond what was there at first.
  options.learning_rate = 1e6;
  options.validate_every = 100;
  options.objective.lambda_l2 = 1;
  const auto other = fresh();
  const auto before = weights_of(*other);
  MapperTrainer exploding(generator(), tiny::clip(), nullptr, other, text(), {}, validation(), options, {});
  CHECK_FALSE(exploding.advance(100, {}));
  CHECK(exploding.end() == TrainingEnd::Exploded);
  CHECK(exploding.step() < 12);
  const MapperTrainingState state = exploding.state();
  for (const auto& [name, tensor] : before) CHECK(at::equal(tensor, state.tensors.at("best/" + name)));
}

TEST_CASE("mapper training: what it refuses") {
  const auto code = [](const auto& change) {
    MapperTrainingOptions options = short_options();
    std::shared_ptr<Mapper> mapper = fresh();
    at::Tensor texts = text(), latents, held = validation();
    change(options, mapper, texts, latents, held);
    return tiny::error_of(
               [&] { MapperTrainer(generator(), tiny::clip(), nullptr, mapper, texts, latents, held, options, {}); })
        .code();
  };
  using Options = MapperTrainingOptions&;
  using Model = std::shared_ptr<Mapper>&;
  using Tensor = at::Tensor&;
  CHECK(code([](Options o, Model, Tensor, Tensor, Tensor) { o.steps = 0; }) == ErrorCode::Range);
  CHECK(code([](Options o, Model, Tensor, Tensor, Tensor) { o.batch = 0; }) == ErrorCode::Range);
  CHECK(code([](Options o, Model, Tensor, Tensor, Tensor) { o.learning_rate = -1; }) == ErrorCode::Range);
  CHECK(code([](Options o, Model, Tensor, Tensor, Tensor) { o.objective.lambda_l2 = -1; }) == ErrorCode::Range);
  CHECK(code([](Options o, Model, Tensor, Tensor, Tensor) { o.objective.lambda_id = 1; }) == ErrorCode::Argument);
  CHECK(code([](Options, Model, Tensor t, Tensor, Tensor) { t = t[0]; }) == ErrorCode::Shape);
  CHECK(code([](Options, Model, Tensor, Tensor l, Tensor v) { l = v[0]; }) == ErrorCode::Shape);
  CHECK(code([](Options, Model, Tensor, Tensor, Tensor v) { v = v.narrow(1, 0, 9); }) == ErrorCode::Shape);
  CHECK(code([](Options, Model, Tensor, Tensor, Tensor v) { v = v * std::nan(""); }) == ErrorCode::NotFinite);
  CHECK(code([](Options, Model m, Tensor, Tensor, Tensor) {
          m = tiny::load<Mapper>("mapper", R"({"rows": 12, "style_width": 8})", nullptr, 7);
        }) == ErrorCode::ModelMismatch);

  MapperTrainer three(generator(), tiny::clip(), nullptr, fresh(), text(), {}, validation(), short_options(), {});
  MapperTrainer two(generator(), tiny::clip(), nullptr, fresh(R"(["coarse", "fine"])"), text(), {}, validation(),
                    short_options(), {});
  CHECK(tiny::error_of([&] { two.restore(three.state()); }).code() == ErrorCode::Shape);
  CHECK(tiny::error_of([&] { three.restore(two.state()); }).code() == ErrorCode::Shape);
}

}  // namespace
