// Latent optimisation on a random world: held against libtorch's own Adam over a loss written out here, then what only a
// batch of problems has: independence, restarts, stopping, going on.
#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/optim/adam.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

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

// run_optimization.py as it is: raw pictures, the sum of squares, the schedule with its idle first step.
at::Tensor released_code(const at::Tensor& start, const at::Tensor& text, int steps, double rate, double l2,
                         double id) {
  styleclip::Generator& generator = wide_generator();
  const at::Tensor first = [&] {
    const at::NoGradGuard off;
    return tiny::identity().embed(generator.synthesis(generator.styles(start)));
  }();
  at::Tensor w = start.clone().requires_grad_(true);
  torch::optim::Adam adam({w}, torch::optim::AdamOptions(rate));
  for (int i = 0; i < steps; ++i) {
    const double t = static_cast<double>(i) / steps;
    double r = std::min(1.0, (1 - t) / 0.25);
    r = 0.5 - 0.5 * std::cos(r * std::numbers::pi);
    r *= std::min(1.0, t / 0.05);
    static_cast<torch::optim::AdamOptions&>(adam.param_groups()[0].options()).lr(rate * r);
    const at::Tensor images = generator.synthesis(generator.styles(w));
    const at::Tensor large = at::upsample_nearest2d(images, {32 * 7, 32 * 7});
    // A CLIP of 32 pixels sees a seventh of what one of 224 would.
    const at::Tensor input = at::avg_pool2d(at::avg_pool2d(large, {1, 1}), {7, 7});
    const at::Tensor f = tiny::clip().encode_image(input);
    const at::Tensor cosine = (f / f.norm(2, 1, true) * (text / text.norm())).sum(1);
    const at::Tensor loss = (1 - cosine).sum() + l2 * (w - start).square().sum() +
                            id * (1 - (tiny::identity().embed(images) * first).sum(1)).sum();
    adam.zero_grad();
    loss.backward();
    adam.step();
  }
  return w.detach();
}

TEST_CASE("optimizer: the released code's settings do what the released code does") {
  const at::Tensor start = sources(wide_generator(), 1);
  const at::Tensor text = texts();
  OptimizerOptions options;
  options.steps = 25;
  options.learning_rate = 0.1;
  options.in_sigmas = false;
  options.idle_first_step = true;
  options.objective = {.lambda_l2 = 0.008, .lambda_id = 0.005, .clip_input = ClipInput::Raw};
  LatentOptimizer optimizer(wide_generator(), tiny::clip(), &tiny::identity(), start, text, options, {});
  finished(optimizer);
  const at::Tensor theirs = released_code(start, text[0][0], 25, 0.1, 0.008, 0.005);
  const double moved = largest(theirs, start);
  CHECK(moved > 0.5);  // 25 steps of at most 0.1
  CHECK(largest(optimizer.latents(false), theirs) < 2e-4 * moved);
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
  CHECK(largest(total, clip + 0.05 * l2 + 0.3 * id) < 1e-6);
  CHECK(largest(l2.select(1, 0), at::zeros({3}, at::kDouble)) == 0);
  CHECK(largest(id.select(1, 0), at::zeros({3}, at::kDouble)) < 1e-6);
  CHECK(at::equal(state.best_total, std::get<0>(total.min(1))));
  CHECK(at::equal(state.best_step, std::get<1>(total.min(1))));
  CHECK((state.reason == static_cast<std::int64_t>(StopReason::Steps)).all().item<bool>());
}

TEST_CASE("optimizer: problems of a batch do not touch each other, in every space") {
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
    finished(together);
    const at::Tensor all = together.latents(true);
    CHECK(largest(all, start) > 0.01);
    for (std::int64_t i = 0; i < 3; ++i) {
      LatentOptimizer alone(generator, tiny::clip(), nullptr, start.narrow(0, i, 1), aims.narrow(0, i, 1), options, {});
      finished(alone);
      CHECK(at::equal(alone.latents(true), all.narrow(0, i, 1)));
    }
    options.batch = 3;
    LatentOptimizer wide(generator, tiny::clip(), nullptr, start, aims, options, {});
    finished(wide);
    CHECK(largest(wide.latents(true), all) < 1e-3 * largest(all, start));
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
  options.seed = 4;
  const at::Tensor start = sources(tiny::generator(), 2);
  LatentOptimizer optimizer(tiny::generator(), tiny::clip(), nullptr, start, texts(), options, {});
  const at::Tensor rows = optimizer.latents(false);
  CHECK(rows.size(0) == 6);
  CHECK(at::equal(rows[0], start[0]));
  CHECK(at::equal(rows[3], start[1]));
  CHECK(largest(rows[1], rows[2]) > 0);
  const double spread = optimizer.state().point[1].std().item<double>();
  CHECK(spread > 0.15);  // 0.3 over 56 numbers
  CHECK(spread < 0.45);
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
