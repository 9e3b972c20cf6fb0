// The mapper's training on a random world: Ranger against its formulas in plain double arithmetic, losses against float64, then
// what a run has to keep: falling losses, missing levels, latents that depend on the step alone, going on to the same bits,
// and its ends.
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
#include "float64_world.h"
#include "rounding.h"
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
const std::string kLevels = R"(["coarse", "medium", "fine"])";
std::string config_of(const std::string& levels) {
  return R"({"rows": 10, "style_width": 8, "levels": )" + levels + "}";
}
std::shared_ptr<Mapper> fresh(const std::string& levels = kLevels) {
  return tiny::load<Mapper>("mapper", config_of(levels), nullptr, 7);
}
std::string config_in_s() {
  std::string channels;
  for (const styleclip::StyleLayer& layer : generator().layout().layers) {
    channels += (channels.empty() ? "" : ", ") + std::to_string(layer.channels);
  }
  return R"({"space": "s", "channels": [)" + channels + "]}";
}
std::shared_ptr<Mapper> fresh_in_s() { return tiny::load<Mapper>("mapper", config_in_s(), nullptr, 7); }

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

// A number, and how far from it the same arithmetic may be where each operation rounds by `unit` (running error analysis:
// Higham, "Accuracy and Stability", 3.3).
struct Near {
  double value = 0, error = 0, unit = 0;

  static Near rounded(double value, double error, double unit) { return {value, error + unit * std::abs(value), unit}; }
};
Near operator+(const Near& a, const Near& b) { return Near::rounded(a.value + b.value, a.error + b.error, a.unit); }
Near operator-(const Near& a, const Near& b) { return Near::rounded(a.value - b.value, a.error + b.error, a.unit); }
Near operator*(const Near& a, const Near& b) {
  const double error = std::abs(a.value) * b.error + std::abs(b.value) * a.error + a.error * b.error;
  return Near::rounded(a.value * b.value, error, a.unit);
}
Near operator/(const Near& a, const Near& b) {  // b's error is less than b
  const double quotient = a.value / b.value;
  return Near::rounded(quotient, (a.error + std::abs(quotient) * b.error) / (std::abs(b.value) - b.error), a.unit);
}
Near root(const Near& a) {
  const double lowest = std::sqrt(std::max(0.0, a.value - a.error));
  return Near::rounded(std::sqrt(a.value), a.error / (std::sqrt(a.value) + lowest), a.unit);
}

// styleclip.md H.6 in scalars: one matrix [2][3], one vector [2] behind it.
struct PlainRanger {
  double unit;  // roundoff
  std::array<Near, 8> weight{}, m{}, v{}, slow{};
  int t = 0;

  Near constant(double value) const { return Near::rounded(value, 0, unit); }

  void step(std::array<Near, 8> g, double rate) {
    for (std::size_t row = 0; row < 2; ++row) {
      double sum = 0, error = 0;  // summed in any order
      for (std::size_t i = 0; i < 3; ++i) {
        sum += g[row * 3 + i].value;
        error += g[row * 3 + i].error + 2 * unit * std::abs(g[row * 3 + i].value);
      }
      const Near mean = Near::rounded(sum / 3, error / 3, unit);
      for (std::size_t i = 0; i < 3; ++i) g[row * 3 + i] = g[row * 3 + i] - mean;
    }
    if (t++ == 0) slow = weight;
    // Scalars are float64 in any case, computed from the same β and powers, and round both there and here.
    constexpr double kTwice = 2 * 0x1p-53;
    const auto wide = [](double value) { return Near{value, 0, kTwice}; };
    const Near b1 = wide(std::pow(0.95, t)), b2 = wide(std::pow(0.999, t)), one = wide(1), two = wide(2);
    const Near longest = two / wide(1 - 0.999) - one, n = longest - two * wide(t) * b2 / (one - b2);
    Near size = wide(rate) / (one - b1);
    if (n.value > 5) {
      const Near four = wide(4);
      size = size * root((one - b2) * (n - four) / (longest - four) * (n - two) / n * longest / (longest - two));
    }
    size = Near::rounded(size.value, size.error, unit);
    for (std::size_t i = 0; i < 8; ++i) {
      m[i] = constant(0.95) * m[i] + constant(1 - 0.95) * g[i];
      v[i] = constant(0.999) * v[i] + constant(1 - 0.999) * g[i] * g[i];
      const Near step = size * m[i];
      weight[i] = weight[i] - (n.value > 5 ? step / (root(v[i]) + constant(1e-5)) : step);
      if (t % 6 == 0) weight[i] = slow[i] = slow[i] + constant(0.5) * (weight[i] - slow[i]);
    }
  }
};

TEST_CASE("ranger: twenty steps are those of the formulas, in float64 and float32") {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    const at::Tensor start = random({8}, 1), gradients = random({20, 8}, 2);
    PlainRanger plain{rounding::roundoff(type) + rounding::roundoff(at::kDouble)};  // the formulas round too
    const auto exact = [&](const at::Tensor& number) { return Near{number.item<double>(), 0, plain.unit}; };
    for (std::int64_t i = 0; i < 8; ++i) plain.weight[static_cast<std::size_t>(i)] = exact(start[i]);
    plain.m.fill(Near{0, 0, plain.unit});
    plain.v = plain.m;
    std::vector<at::Tensor> parameters = {start.narrow(0, 0, 6).view({2, 3}).to(type, false, true),
                                          start.narrow(0, 6, 2).to(type, false, true)};
    ParameterOptimizer optimizer(TrainingOptimizer::Ranger, 0.1, parameters);
    for (std::int64_t step = 0; step < 20; ++step) {
      std::array<Near, 8> g{};
      for (std::int64_t i = 0; i < 8; ++i) g[static_cast<std::size_t>(i)] = exact(gradients[step][i]);
      plain.step(g, 0.1);
      optimizer.step({gradients[step].narrow(0, 0, 6).view({2, 3}).to(type), gradients[step].narrow(0, 6, 2).to(type)});
      const at::Tensor flat = at::cat({parameters[0].flatten(), parameters[1]}).to(at::kDouble);
      for (std::int64_t i = 0; i < 8; ++i) {
        const Near& wanted = plain.weight[static_cast<std::size_t>(i)];
        CHECK(std::abs(flat[i].item<double>() - wanted.value) <= wanted.error);
        CHECK(wanted.error <= 1e3 * plain.unit);  // the bound says something
      }
    }
  }
}

TEST_CASE("adam: the steps are libtorch's") {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    const double u = rounding::roundoff(type);
    at::Tensor own = random({2, 3}, 1).to(type), theirs = own.clone().requires_grad_(true);
    ParameterOptimizer optimizer(TrainingOptimizer::Adam, 0.1, {own});
    torch::optim::Adam adam({theirs}, torch::optim::AdamOptions(0.1));
    at::Tensor allowed = at::zeros({2, 3}, at::kDouble);
    for (std::uint64_t step = 1; step <= 10; ++step) {
      const at::Tensor gradient = random({2, 3}, 9 + step).to(type);
      optimizer.step({gradient});
      theirs.mutable_grad() = gradient;
      adam.step();
      const auto& state =
          static_cast<const torch::optim::AdamParamState&>(*adam.state().at(theirs.unsafeGetTensorImpl()));
      CHECK(at::equal(optimizer.first[0], state.exp_avg()));
      CHECK(at::equal(optimizer.second[0], state.exp_avg_sq()));
      // From one pair of moments: ours rounds the divided second moment, its root and the sum with ε, theirs the root, its
      // quotient and the sum; each rounds a constant for the quotient and one for the step, two operations of the step, and the
      // result.
      const auto t = static_cast<double>(step);
      const at::Tensor root = (state.exp_avg_sq().to(at::kDouble) / (1 - std::pow(0.999, t))).sqrt();
      const at::Tensor change = 0.1 / (1 - std::pow(0.9, t)) * state.exp_avg().to(at::kDouble).abs() / (root + 1e-8);
      allowed += 13 * u * change + 2 * u * theirs.detach().to(at::kDouble).abs();
      CHECK(((own - theirs).detach().to(at::kDouble).abs() - allowed).max().item<double>() <= 0);
    }
  }
}

// The objective of a mapper on latents in float64, means over them: total, clip, l2, id.
class Objective64 {
 public:
  Objective64(const Mapper& mapper, const std::string& config)
      : mapper_("mapper", config, mapper.tensors()), in_s_(mapper.rows() == 0) {}

  float64::Rounded losses(const at::Tensor& given, double lambda_l2, double lambda_id) {
    const at::Tensor latents = float64::wide(given), aim = float64::wide(text());
    const at::Tensor before =
        identity_.embed(pictures(latents));  // of the sources, once: its own roundings are its own
    return float64::rounded({&mapper_, &generator_, &clip_, &identity_}, 1, [&]() -> float64::Tensors {
      const at::Tensor moved = latents + 0.1 * mapper_("delta", {latents}), images = pictures(moved);
      const at::Tensor f = clip_.embedding(images);
      const at::Tensor meaning = 1 - (f / f.norm(2, 1, true) * (aim / aim.norm())).sum(1);
      const at::Tensor change = (moved - latents).square();
      at::Tensor l2 = in_s_ ? at::zeros_like(meaning) : change.flatten(1).mean(1);
      for (const styleclip::StyleLayer& layer : generator().layout().layers) {
        if (in_s_) l2 = l2 + change.narrow(1, layer.offset, layer.channels).mean(1);
      }
      const at::Tensor id = 1 - (identity_.embed(images) * before).sum(1);
      const at::Tensor total = meaning + lambda_l2 * l2 + lambda_id * id;
      return {total.mean(), meaning.mean(), l2.mean(), id.mean()};
    });
  }

 private:
  at::Tensor pictures(const at::Tensor& latents) const {
    return generator_.synthesis(in_s_ ? latents : generator_.styles(latents));
  }

  float64::Network mapper_;
  float64::Generator generator_{kGenerator, generator()};
  float64::Clip clip_{tiny::kClipConfig, tiny::clip()};
  float64::Identity identity_{tiny::kIdentityConfig, tiny::identity()};
  bool in_s_;
};

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
      const at::Tensor held_out = validation(in_s ? "s" : "w_plus");
      const float64::Rounded at_first =
          Objective64(*mapper, in_s ? config_in_s() : config_of(kLevels)).losses(held_out, 0.1, 0.1);
      MapperTrainer trainer(generator(), tiny::clip(), &tiny::identity(), mapper, text(), {}, held_out, options, {});
      CHECK_FALSE(trainer.advance(100, {}));
      CHECK(trainer.end() == TrainingEnd::Steps);
      const std::vector<MapperLogEntry> log = trainer.take_log();
      CHECK(log.size() == 24 + 7);
      std::vector<MapperLogEntry> validations;
      for (const MapperLogEntry& entry : log) {
        const styleclip::MapperLoss& loss = entry.loss;
        // Summed in float64; the total and each part are rounded to float32 once.
        const double sum = loss.clip + 0.1 * loss.l2 + 0.1 * loss.id;
        CHECK(std::abs(loss.total - sum) <= 2 * 0x1p-24 * sum);
        CHECK(loss.l2 > 0);
        if (entry.validation) validations.push_back(entry);
      }
      const styleclip::MapperLoss& before = validations.front().loss;
      const std::array<double, 4> told = {before.total, before.clip, before.l2, before.id};
      for (std::size_t i = 0; i < told.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(told[i] - at_first.exact[i].item<double>()) <= at_first.bounds[i]);
      }
      // It falls by more than roundings make of two losses.
      CHECK(trainer.best() < before.total - 2 * at_first.bounds[0]);
      // And because the pictures come nearer to the text.
      const auto& nearest = *std::min_element(validations.begin(), validations.end(),
                                              [](const auto& a, const auto& b) { return a.loss.total < b.loss.total; });
      INFO(before.clip << " -> " << nearest.loss.clip);
      CHECK(nearest.loss.clip < before.clip - 2 * at_first.bounds[1]);
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
  for (const styleclip::StyleLayer& layer : generator().layout().layers) {
    const at::Tensor part = change.narrow(1, layer.offset, layer.channels);
    CHECK((part.abs().max().item<double>() == 0) == layer.to_rgb);
  }
  const float64::Rounded expected = Objective64(*mapper, config_in_s()).losses(latents, 0.1, 0);
  trainer.advance(1, {});
  const double l2 = trainer.take_log().front().loss.l2;
  CHECK(std::abs(l2 - expected.exact[2].item<double>()) <= expected.bounds[2]);
  CHECK(expected.bounds[2] <= 0.01 * l2);  // the bound says something
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
