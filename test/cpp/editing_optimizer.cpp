// Latent optimisation on a random world: held against the loss and Adam written out here, in float64, then what only a batch
// of problems has: independence, restarts, stopping, going on.
#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "float64_world.h"
#include "runtime/philox.h"
#include "styleclip/optimizer.h"
#include "tiny_world.h"

namespace {

using styleclip::ClipInput;
using styleclip::ErrorCode;
using styleclip::LatentOptimizer;
using styleclip::LatentSpace;
using styleclip::OptimizerOptions;
using styleclip::OptimizerState;
using styleclip::StopReason;

// Equations of 32 pixels for the released code's resampling, which knows multiples of 32 only.
const char* const kWideGenerator =
    R"({"image_size": 32, "channels": [6, 5, 4, 3], "z_width": 8, "style_width": 8, "mapping_layers": 2})";

styleclip::Generator& wide_generator() {
  static const auto model = tiny::load<styleclip::Generator>("stylegan2", kWideGenerator, nullptr, 7);
  return *model;
}

at::Tensor random(std::vector<std::int64_t> shape, std::uint64_t seed) {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(seed);
  return tiny::normal(engine, std::move(shape));
}
at::Tensor texts(std::int64_t problems = 1, std::int64_t each = 1) {
  return random({problems, each, tiny::clip().embedding_dim()}, 3);
}
at::Tensor sources(styleclip::Generator& generator, std::int64_t n) {
  return generator.truncate(generator.mapping(generator.sample_z(n, 1)), 0.7, -1);
}

OptimizerOptions short_options() {
  OptimizerOptions options;
  options.steps = 12;
  options.objective.lambda_l2 = 0.05;
  options.objective.l2_mean = true;
  return options;
}

OptimizerState finished(LatentOptimizer& optimizer) {
  while (optimizer.advance(100, {})) {
  }
  return optimizer.state();
}

double largest(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

// The schedule of run_optimization.py, 1 at its plateau.
double ramp(double t) {
  const double down = std::min(1.0, (1 - t) / 0.25);
  return (0.5 - 0.5 * std::cos(down * std::numbers::pi)) * std::min(1.0, t / 0.05);
}

// Row by row the mean distance of f [n, d] to aims [n, t, d].
at::Tensor clip_distance(const at::Tensor& f, const at::Tensor& aims) {
  const auto unit = [](const at::Tensor& rows) { return rows / rows.norm(2, -1, true); };
  return (1 - (unit(f).unsqueeze(1) * unit(aims)).sum(2)).mean(1);
}

float64::Adam adam(const OptimizerState& state) { return {state.point, state.first_moment, state.second_moment}; }

TEST_CASE("optimizer: the released code's settings do what the released code does, step by step in float64") {
  const at::Tensor start = sources(wide_generator(), 1);
  const at::Tensor text = texts();
  OptimizerOptions options;
  options.steps = 25;
  options.learning_rate = 0.1;
  options.in_sigmas = false;
  options.idle_first_step = true;
  options.objective = {.lambda_l2 = 0.008, .lambda_id = 0.005, .clip_input = ClipInput::Raw};
  LatentOptimizer optimizer(wide_generator(), tiny::clip(), &tiny::identity(), start, text, options, {});

  float64::Generator generator(kWideGenerator, wide_generator());
  float64::Clip clip(tiny::kClipConfig, tiny::clip());
  float64::Identity identity(tiny::kIdentityConfig, tiny::identity());
  const at::Tensor source = float64::wide(start), aims = float64::wide(text);
  const at::Tensor first = identity.embed(generator.synthesis(generator.styles(source)));
  // run_optimization.py as it is: raw pictures, the sum of squares. The gradient, and total, clip, l2 and id.
  const auto derive = [&](const at::Tensor& point) -> float64::Tensors {
    const at::Tensor leaf = float64::wide(point).clone().requires_grad_(true);
    const at::Tensor images = generator.synthesis(generator.styles(source + leaf));
    const at::Tensor large = at::upsample_nearest2d(images, {32 * 7, 32 * 7});
    // A CLIP of 32 pixels sees a seventh of what one of 224 would.
    const at::Tensor input = at::avg_pool2d(at::avg_pool2d(large, {1, 1}), {7, 7});
    const at::Tensor meaning = clip_distance(clip.embedding_of_input(input), aims);
    const at::Tensor l2 = leaf.square().sum({1, 2}), id = 1 - (identity.embed(images) * first).sum(1);
    const at::Tensor total = meaning + 0.008 * l2 + 0.005 * id;
    total.sum().backward();
    return {leaf.grad(), at::stack({total, meaning, l2, id}, 1).detach()};
  };
  constexpr double kPixels = 32 * 32;  // a gradient's last sums
  for (std::int64_t i = 0; i < options.steps; ++i) {
    CAPTURE(i);
    const OptimizerState before = optimizer.state();
    const float64::Rounded wanted =
        float64::rounded({&generator, &clip, &identity}, kPixels, [&] { return derive(before.point); });
    optimizer.advance(1, {});
    const OptimizerState after = optimizer.state();
    const double rate = 0.1 * ramp(static_cast<double>(i) / 25);
    float64::check_adam_step(adam(before), adam(after), wanted.exact[0], wanted.bounds[0], rate, i + 1);
    float64::check_rounded(after.curves.select(2, i), wanted, 1);
  }
  CHECK_FALSE(optimizer.running());
  CHECK(largest(optimizer.latents(false), start) > 0.5);  // 25 steps of at most 0.1
}

TEST_CASE("optimizer: the first step is idle only where that is asked for") {
  for (const bool idle : {true, false}) {
    OptimizerOptions options = short_options();
    options.idle_first_step = idle;
    const at::Tensor start = sources(tiny::generator(), 1);
    LatentOptimizer optimizer(tiny::generator(), tiny::clip(), nullptr, start, texts(), options, {});
    CHECK(optimizer.advance(1, {}));
    CHECK(optimizer.step() == 1);
    CHECK((largest(optimizer.latents(false), start) == 0) == idle);
  }
}

TEST_CASE("optimizer: totals fall, the parts make them up, and the best is the lowest of the curve") {
  OptimizerOptions options = short_options();
  options.objective.lambda_id = 0.3;
  const at::Tensor start = sources(wide_generator(), 3);
  LatentOptimizer optimizer(wide_generator(), tiny::clip(), &tiny::identity(), start, texts(), options, {});
  const OptimizerState state = finished(optimizer);
  const at::Tensor total = state.curves.select(1, 0), clip = state.curves.select(1, 1), l2 = state.curves.select(1, 2),
                   id = state.curves.select(1, 3);
  CHECK(state.curves.isfinite().all().item<bool>());
  CHECK((total.select(1, 12) < total.select(1, 0)).all().item<bool>());
  // The total is summed in float64; it and each part are rounded to float32, l2 once more by its division.
  const at::Tensor sum = clip + 0.05 * l2 + 0.3 * id;
  CHECK(((total - sum).abs() - 3 * 0x1p-24 * sum).max().item<double>() <= 0);
  CHECK(largest(l2.select(1, 0), at::zeros({3}, at::kDouble)) == 0);
  // Of the pictures to be and their sources, which are the same: two roundings of one embedding are twice as far apart as one
  // is from the exact one, and 1 − cos is half the square of that; its own sums are in float64.
  float64::Generator generator(kWideGenerator, wide_generator());
  float64::Identity identity(tiny::kIdentityConfig, tiny::identity());
  const float64::Rounded faces = float64::rounded({&generator, &identity}, 1, [&]() -> float64::Tensors {
    return {identity.embed(generator.synthesis(generator.styles(float64::wide(start))))};
  });
  const auto numbers = static_cast<double>(faces.exact[0].size(1));
  const double apart = 2 * faces.bounds[0] * std::sqrt(numbers);
  CHECK(id.select(1, 0).abs().max().item<double>() <= apart * apart / 2 + 4 * numbers * 0x1p-53);
  CHECK(at::equal(state.best_total, std::get<0>(total.min(1))));
  CHECK(at::equal(state.best_step, std::get<1>(total.min(1))));
  CHECK((state.reason == static_cast<std::int64_t>(StopReason::Steps)).all().item<bool>());
}

TEST_CASE("optimizer: problems of a batch do not touch each other, in every space") {
  float64::Generator generator64(tiny::kGeneratorConfig, tiny::generator());
  float64::Clip clip64(tiny::kClipConfig, tiny::clip());
  for (const LatentSpace space : {LatentSpace::W, LatentSpace::WPlus, LatentSpace::S}) {
    OptimizerOptions options = short_options();
    options.space = space;
    options.batch = 1;
    styleclip::Generator& generator = tiny::generator();
    at::Tensor start = sources(generator, 3);
    if (space == LatentSpace::W) start = start.select(1, 0).contiguous();
    if (space == LatentSpace::S) start = generator.styles(start);
    const at::Tensor aims = texts(3, 2);
    LatentOptimizer together(generator, tiny::clip(), nullptr, start, aims, options, {});
    options.batch = 3;
    LatentOptimizer wide(generator, tiny::clip(), nullptr, start, aims, options, {});
    options.batch = 1;

    // In batches of one and of three, every step is that of float64. Coordinates as the optimiser has them: σ of latents.
    const at::Tensor spread = generator.truncate(generator.mapping(generator.sample_z(4096, 0)), 0.7, -1);
    at::Tensor unit = space == LatentSpace::S ? generator.styles(spread).std(0, false)
                                              : spread.select(1, 0).std(0, false).expand(start.sizes().slice(1));
    unit = float64::wide(unit).clone();
    if (space == LatentSpace::S) {
      for (const std::int64_t channel : generator.layout().select({"torgb"})) unit[channel].zero_();
    }
    const auto moving = static_cast<double>(unit.ne(0).sum().item<std::int64_t>());
    const auto derive = [&](const at::Tensor& point) -> float64::Tensors {
      const at::Tensor leaf = float64::wide(point).clone().requires_grad_(true);
      at::Tensor s = float64::wide(start) + unit * leaf;
      if (space == LatentSpace::W) s = s.unsqueeze(1).expand({-1, generator.layout().rows, -1});
      if (space != LatentSpace::S) s = generator64.styles(s);
      const at::Tensor meaning = clip_distance(clip64.embedding(generator64.synthesis(s)), float64::wide(aims));
      (meaning + 0.05 / moving * leaf.square().flatten(1).sum(1)).sum().backward();
      return {leaf.grad()};
    };
    for (std::int64_t i = 0; i < options.steps; ++i) {
      CAPTURE(i);
      const OptimizerState before = together.state();
      constexpr double kPixels = 16 * 16;  // a gradient's last sums
      const float64::Rounded wanted =
          float64::rounded({&generator64, &clip64}, kPixels, [&] { return derive(before.point); });
      together.advance(1, {});
      wide.restore(before);
      wide.advance(1, {});
      const double rate = options.learning_rate * ramp((static_cast<double>(i) + 0.5) / 12);
      for (const LatentOptimizer* one : {&together, &wide}) {
        float64::check_adam_step(adam(before), adam(one->state()), wanted.exact[0], wanted.bounds[0], rate, i + 1);
      }
      CHECK(wanted.bounds[0] <= 0.01 * wanted.exact[0].abs().max().item<double>());
    }

    const at::Tensor all = together.latents(true);
    CHECK(largest(all, start) > 0.01);
    for (std::int64_t i = 0; i < 3; ++i) {
      LatentOptimizer alone(generator, tiny::clip(), nullptr, start.narrow(0, i, 1), aims.narrow(0, i, 1), options, {});
      finished(alone);
      CHECK(at::equal(alone.latents(true), all.narrow(0, i, 1)));
    }
  }
}

TEST_CASE("optimizer: in S only the named layers move") {
  styleclip::Generator& generator = tiny::generator();
  const at::Tensor start = generator.styles(sources(generator, 2));
  OptimizerOptions options = short_options();
  options.space = LatentSpace::S;
  for (const std::string layers : {"conv", "torgb", "all", "b8.conv0"}) {
    options.layers = {layers};
    LatentOptimizer optimizer(generator, tiny::clip(), nullptr, start, texts(), options, {});
    finished(optimizer);
    const at::Tensor moved = (optimizer.latents(true) - start).abs().sum(0).ne(0);
    const at::Tensor expected = at::zeros({generator.layout().total()}, at::kBool);
    for (const std::int64_t channel : generator.layout().select({layers})) expected[channel].fill_(true);
    CHECK(at::equal(moved, expected));
  }
}

TEST_CASE("optimizer: a run that was stopped goes on to the same bits") {
  OptimizerOptions options = short_options();
  options.restarts = 2;
  const at::Tensor start = sources(tiny::generator(), 2);
  LatentOptimizer whole(tiny::generator(), tiny::clip(), nullptr, start, texts(), options, {});
  const OptimizerState wanted = finished(whole);

  LatentOptimizer first(tiny::generator(), tiny::clip(), nullptr, start, texts(), options, {});
  CHECK(first.advance(5, {}));
  styleclip::CancelFlag cancel;
  cancel.set();
  styleclip::RunContext stopped;
  stopped.cancel = &cancel;
  CHECK_THROWS_AS(first.advance(1, stopped), styleclip::Aborted);
  CHECK(first.step() == 5);
  LatentOptimizer second(tiny::generator(), tiny::clip(), nullptr, start, texts(), options, {});
  second.restore(first.state());
  const OptimizerState got = finished(second);
  CHECK(at::equal(got.point, wanted.point));
  CHECK(at::equal(got.best, wanted.best));
  CHECK(at::equal(got.curves, wanted.curves));

  options.restarts = 3;
  LatentOptimizer other(tiny::generator(), tiny::clip(), nullptr, start, texts(), options, {});
  CHECK(tiny::error_of([&] { other.restore(wanted); }).code() == ErrorCode::Shape);
}

TEST_CASE("optimizer: restarts begin apart, the first at the source") {
  OptimizerOptions options = short_options();
  options.restarts = 3;
  options.spread = 0.3;
  options.seed = 4;
  const at::Tensor start = sources(tiny::generator(), 2);
  LatentOptimizer optimizer(tiny::generator(), tiny::clip(), nullptr, start, texts(), options, {});
  const at::Tensor rows = optimizer.latents(false);
  CHECK(rows.size(0) == 6);
  CHECK(at::equal(rows[0], start[0]));
  CHECK(at::equal(rows[3], start[1]));
  CHECK(largest(rows[1], rows[2]) > 0);
  at::Tensor away = at::empty(start[0].sizes());
  styleclip::philox_normal(away.mutable_data_ptr<float>(), away.numel(), 4,
                           static_cast<std::uint32_t>(styleclip::PhiloxStream::Restarts), 1);
  CHECK(at::equal(optimizer.state().point[1], away * 0.3));
}

TEST_CASE("optimizer: a plateau ends a problem, and only that one") {
  OptimizerOptions options = short_options();
  options.steps = 40;
  options.patience = 5;
  options.tolerance = 10;  // nothing improves by that much
  const at::Tensor start = sources(tiny::generator(), 1);
  LatentOptimizer optimizer(tiny::generator(), tiny::clip(), nullptr, start, texts(), options, {});
  const OptimizerState state = finished(optimizer);
  CHECK(state.reason[0].item<std::int64_t>() == static_cast<std::int64_t>(StopReason::Plateau));
  CHECK(state.curves[0][0].isfinite().sum().item<std::int64_t>() == 6);
  CHECK(state.step < 40);
}

TEST_CASE("optimizer: numbers that are none end a problem at its best so far, and leave its neighbours alone") {
  const at::Tensor start = sources(tiny::generator(), 2);
  at::Tensor aims = texts(2);
  aims[1][0][0] = std::numeric_limits<float>::quiet_NaN();
  OptimizerOptions options = short_options();
  LatentOptimizer optimizer(tiny::generator(), tiny::clip(), nullptr, start, aims, options, {});
  const OptimizerState state = finished(optimizer);
  CHECK(state.reason[0].item<std::int64_t>() == static_cast<std::int64_t>(StopReason::Steps));
  CHECK(state.reason[1].item<std::int64_t>() == static_cast<std::int64_t>(StopReason::NotFinite));
  CHECK(at::equal(optimizer.latents(true)[1], start[1]));
  CHECK(largest(optimizer.latents(true)[0], start[0]) > 0);
}

TEST_CASE("optimizer: an exploding total ends a problem") {
  OptimizerOptions options = short_options();
  options.objective.lambda_l2 = 1e9;
  options.learning_rate = 10;
  const at::Tensor start = sources(tiny::generator(), 1);
  LatentOptimizer optimizer(tiny::generator(), tiny::clip(), nullptr, start, texts(), options, {});
  const OptimizerState state = finished(optimizer);
  CHECK(state.reason[0].item<std::int64_t>() == static_cast<std::int64_t>(StopReason::Exploded));
  CHECK(at::equal(optimizer.latents(true), start));
}

TEST_CASE("optimizer: what it refuses") {
  const at::Tensor start = sources(tiny::generator(), 2);
  const auto code = [&](const at::Tensor& latents, const at::Tensor& aims, const auto& change) {
    OptimizerOptions options;
    change(options);
    return tiny::error_of(
               [&] { LatentOptimizer(tiny::generator(), tiny::clip(), nullptr, latents, aims, options, {}); })
        .code();
  };
  const auto same = [](OptimizerOptions&) {};
  CHECK(code(start[0], texts(), same) == ErrorCode::Shape);
  CHECK(code(start.narrow(1, 0, 3), texts(), same) == ErrorCode::Shape);
  CHECK(code(start, texts(3), same) == ErrorCode::Shape);
  CHECK(code(start, texts().squeeze(0), same) == ErrorCode::Shape);
  at::Tensor broken = start.clone();
  broken[0][0][0] = std::numeric_limits<float>::infinity();
  CHECK(code(broken, texts(), same) == ErrorCode::NotFinite);
  CHECK(code(start, texts(), [](OptimizerOptions& o) { o.learning_rate = 0; }) == ErrorCode::Range);
  CHECK(code(start, texts(), [](OptimizerOptions& o) { o.objective.lambda_l2 = -1; }) == ErrorCode::Range);
  CHECK(code(start, texts(), [](OptimizerOptions& o) { o.objective.lambda_id = 1; }) == ErrorCode::Argument);
  CHECK(code(start, texts(), [](OptimizerOptions& o) { o.steps = 0; }) == ErrorCode::Range);
  CHECK(code(start, texts(), [](OptimizerOptions& o) { o.patience = -1; }) == ErrorCode::Range);
}

}  // namespace
