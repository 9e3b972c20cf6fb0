// Inversion: losses fall to where the result says, problems share nothing, noise maps come back normalised, what cannot go on
// stops with its best, and what was stopped goes on.
#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>

#include "float64_world.h"
#include "runtime/philox.h"
#include "styleclip/inversion.h"
#include "tiny_world.h"

using styleclip::ErrorCode;
using styleclip::FeatureNetwork;
using styleclip::InversionEnd;
using styleclip::InversionOptions;

namespace {

at::Tensor pictures(std::int64_t count, std::int64_t first = 50) {
  auto& generator = tiny::generator();
  const at::Tensor w = generator.truncate(generator.mapping(generator.sample_z(count, 2, first)), 1, -1);
  return generator.synthesis(generator.styles(w));
}

InversionOptions plain() {
  InversionOptions options;
  options.steps = 40;
  options.learning_rate = 0.05;
  options.lambda_feature = 0;
  return options;
}

InversionOptions projector() {
  InversionOptions options = plain();
  options.w_plus = false;
  options.latent_noise = 0.05;
  options.noise_maps = true;
  options.lambda_pixel = 0;
  options.lambda_pooled = 1;
  options.lambda_feature = 1;
  options.lambda_noise = 10;
  return options;
}

styleclip::Inverter::Result run_all(const FeatureNetwork& network, const at::Tensor& images,
                                    const InversionOptions& options, const at::Tensor& start = {}) {
  styleclip::Inverter inverter(tiny::generator(), network, images, start, options, {});
  while (inverter.advance(7, {})) {
  }
  return inverter.result(true);
}

double curve(const styleclip::Inverter::Result& result, std::int64_t row, std::int64_t part, std::int64_t step) {
  return result.curves[row][part][step].item<double>();
}

at::Tensor render(const at::Tensor& latents, const std::vector<at::Tensor>& noise) {
  auto& generator = tiny::generator();
  const at::Tensor w_plus = latents.dim() == 3 ? latents : generator.truncate(latents, 1, -1);
  const at::Tensor s = generator.styles(w_plus);
  return noise.empty() ? generator.synthesis(s) : generator.synthesis(s, noise);
}

// Of one picture's numbers.
const double kSumsApart = tiny::sums_apart(3 * 16 * 16);

// A module of its own in a file, with a method forward.
tiny::TemporaryFile module_file(const std::string& code) {
  torch::jit::Module module("compares");
  module.define(code);
  std::ostringstream out;
  module.save(out);
  return tiny::TemporaryFile(out.str());
}

std::shared_ptr<styleclip::Perceptual> perceptual(const std::string& code, bool trust = true) {
  const auto file = module_file(code);
  styleclip::LoadOptions options;
  options.device = "cpu";
  options.trust = trust;
  return styleclip::Perceptual::load(file.path(), options);
}

}  // namespace

TEST_CASE("w_plus and pixels: the loss falls to what the latents give") {
  const at::Tensor images = pictures(3);
  const auto result = run_all({}, images, plain());
  CHECK(result.latents.sizes() == at::IntArrayRef({3, 6, 8}));
  CHECK(result.noise.empty());
  const at::Tensor errors = (render(result.latents, {}) - images).square().mean({1, 2, 3});
  for (std::int64_t i = 0; i < 3; ++i) {
    const auto best = result.best_step[i].item<std::int64_t>();
    CHECK(result.end[i].item<std::int64_t>() == static_cast<std::int64_t>(InversionEnd::Steps));
    const auto error = errors[i].item<double>();
    CHECK(std::abs(curve(result, i, 0, best) - error) <= tiny::squares_apart(images, error));
    CHECK(curve(result, i, 0, best) < 0.5 * curve(result, i, 0, 0));
    CHECK(curve(result, i, 0, best) == result.curves[i][0].min().item<double>());
    CHECK(curve(result, i, 5, 0) == 0);  // nothing has moved from the start
    CHECK(curve(result, i, 5, 40) > 0);
  }
}

// The projector's loss in float64 for pictures 0, 1, …, and its gradients to latents [n, width] and noise maps.
class Projector64 {
 public:
  Projector64(const at::Tensor& images, const InversionOptions& options)
      : images_(float64::wide(images)), options_(options), target_(unit(clip_.embedding(images_))) {
    auto& generator = tiny::generator();
    const at::Tensor w = generator.mapping(generator.sample_z(4096, 0));
    length_ = std::sqrt((w - w.mean(0)).square().sum(1).mean().item<double>());
  }

  float64::Rounded gradients(const std::map<std::string, at::Tensor>& state, std::int64_t step) {
    constexpr double kPixels = 16 * 16;  // the last sums
    return float64::rounded({&generator_, &clip_}, kPixels, [&] { return derive(state, step); });
  }

 private:
  static at::Tensor unit(const at::Tensor& rows) { return rows / rows.norm(2, -1, true); }

  float64::Tensors derive(const std::map<std::string, at::Tensor>& state, std::int64_t step) const {
    const std::size_t maps = tiny::generator().noise_sizes().size();
    float64::Tensors leaves;
    for (std::size_t i = 0; i <= maps; ++i) {
      leaves.push_back(float64::wide(state.at("point." + std::to_string(i))).clone().requires_grad_(true));
    }
    const float64::Tensors noise(leaves.begin() + 1, leaves.end());
    const at::Tensor w = leaves[0] + shaking(leaves[0].sizes(), step);
    const at::Tensor s = generator_.styles(w.unsqueeze(1).expand({-1, tiny::generator().layout().rows, -1}));
    const at::Tensor images = generator_.synthesis(s, noise);
    const at::Tensor pooled = at::avg_pool2d(images - images_, {4, 4}).square().mean({1, 2, 3});
    at::Tensor total = pooled + (unit(clip_.embedding(images)) - target_).square().sum(1);
    for (at::Tensor map : noise) {
      while (true) {
        for (const std::int64_t axis : {2, 3}) {
          total = total + options_.lambda_noise * (map * at::roll(map, {1}, {axis})).mean({1, 2, 3}).square();
        }
        if (map.size(2) <= 8) break;
        map = at::avg_pool2d(map, {2, 2});
      }
    }
    total.sum().backward();
    float64::Tensors gradients;
    for (const at::Tensor& leaf : leaves) gradients.push_back(leaf.grad());
    return gradients;
  }

  // Noise of picture and step, 0 from 75 % of the steps on.
  at::Tensor shaking(at::IntArrayRef shape, std::int64_t step) const {
    const at::Tensor noise = at::empty(shape);
    for (std::int64_t i = 0; i < shape[0]; ++i) {
      styleclip::philox_normal(noise.mutable_data_ptr<float>() + i * shape[1], shape[1], options_.seed,
                               static_cast<std::uint32_t>(styleclip::PhiloxStream::Restarts) + 1,
                               static_cast<std::uint64_t>(i * (options_.steps + 1) + step));
    }
    const double left = 1 - static_cast<double>(step) / static_cast<double>(options_.steps) / 0.75;
    return float64::wide(noise) * (length_ * options_.latent_noise * std::pow(std::max(0.0, left), 2));
  }

  float64::Generator generator_{tiny::kGeneratorConfig, tiny::generator()};
  float64::Clip clip_{tiny::kClipConfig, tiny::clip()};
  at::Tensor images_;
  InversionOptions options_;
  at::Tensor target_;
  double length_ = 0;
};

// That `after`, of the first pictures of `before`, is one step from it by these gradients.
void check_step(const std::map<std::string, at::Tensor>& before, const std::map<std::string, at::Tensor>& after,
                const float64::Rounded& gradients, double rate, std::int64_t number) {
  for (std::size_t i = 0; i < gradients.exact.size(); ++i) {
    CAPTURE(i);
    const auto part = [i](const std::map<std::string, at::Tensor>& of, const char* name) {
      return of.at(name + std::to_string(i));
    };
    const std::int64_t count = part(after, "point.").size(0);
    const float64::Adam from{part(before, "point.").narrow(0, 0, count), part(before, "first.").narrow(0, 0, count),
                             part(before, "second.").narrow(0, 0, count)};
    const float64::Adam to{part(after, "point."), part(after, "first."), part(after, "second.")};
    const at::Tensor& g = gradients.exact[i];
    float64::check_adam_moments(from, to, g.narrow(0, 0, count), gradients.bounds[i]);
    CHECK(gradients.bounds[i] <= 0.01 * g.abs().max().item<double>());  // the bound says something
    auto [point, off] = float64::adam_point(from, to, rate, number);
    if (i > 0) {
      // Maps are normalised: means of n numbers, which err by the root of n roundoffs of their sizes, three times that at most;
      // the difference, the square, the root and its quotient, the product.
      const double u = 0x1p-24, mean_off = 3 * u * std::sqrt(static_cast<double>(point[0].numel()));
      const at::Tensor size = point.abs().mean({1, 2, 3}, true);
      point = point - point.mean({1, 2, 3}, true);
      off = off + off.mean({1, 2, 3}, true) + mean_off * size + u * point.abs();
      const at::Tensor square = point.square().mean({1, 2, 3}, true), deviation = square.sqrt();
      const at::Tensor square_off =
          (2 * point.abs() * off + off.square()).mean({1, 2, 3}, true) + (mean_off + u) * square;
      off = off / deviation + point.abs() / deviation * (square_off / (2 * square) + 3 * u);
      point = point / deviation;
    }
    CHECK(((float64::wide(to.point) - point).abs() - off).max().item<double>() <= 0);
  }
}

TEST_CASE("problems share nothing but the passes: whatever is beside one, its steps are those of float64") {
  const at::Tensor images = pictures(3);
  InversionOptions options = projector();
  options.steps = 12;
  FeatureNetwork network;
  network.clip = &tiny::clip();
  styleclip::Inverter together(tiny::generator(), network, images, {}, options, {});
  styleclip::Inverter alone(tiny::generator(), network, images.narrow(0, 0, 1), {}, options, {});
  options.batch = 2;
  styleclip::Inverter halves(tiny::generator(), network, images, {}, options, {});
  Projector64 projector64(images, options);
  for (std::int64_t step = 0; step < options.steps; ++step) {
    CAPTURE(step);
    const auto before = together.state();
    auto first = before;  // noise goes by the picture's number
    for (auto& [name, tensor] : first) {
      if (name != "step") tensor = tensor.narrow(0, 0, 1);
    }
    halves.restore(before);
    alone.restore(first);
    const float64::Rounded gradients = projector64.gradients(before, step);
    const double t = static_cast<double>(step) / 12;
    const double ramp =
        (0.5 - 0.5 * std::cos(std::numbers::pi * std::min(1.0, (1 - t) / 0.25))) * std::min(1.0, t / 0.05);
    for (styleclip::Inverter* one : {&together, &halves, &alone}) {
      one->advance(1, {});
      check_step(before, one->state(), gradients, options.learning_rate * ramp, step + 1);
    }
  }
  CHECK_FALSE(together.advance(1, {}));
}

TEST_CASE("the projector: noise maps are regularised, normalised and returned") {
  const at::Tensor images = pictures(2);
  FeatureNetwork network;
  network.clip = &tiny::clip();
  const auto result = run_all(network, images, projector());
  CHECK(result.latents.sizes() == at::IntArrayRef({2, 8}));
  REQUIRE(result.noise.size() == tiny::generator().noise_sizes().size());
  for (const at::Tensor& map : result.noise) {
    const double rounding =
        3 * 0x1p-24 * std::sqrt(static_cast<double>(map[0].numel()));  // of means of numbers about 1
    CHECK(map.mean({1, 2, 3}).abs().max().item<double>() <= 2 * rounding);
    CHECK(map.square().mean({1, 2, 3}).sub(1).abs().max().item<double>() <= 4 * rounding);
  }
  const at::Tensor drawn = render(result.latents, result.noise);
  for (std::int64_t i = 0; i < 2; ++i) {
    const auto best = result.best_step[i].item<std::int64_t>();
    CHECK(best >= 30);  // nothing shaken counts as the best
    CHECK(curve(result, i, 0, best) < curve(result, i, 0, 0));
    const auto error = (drawn[i] - images[i]).square().mean().item<double>();
    CHECK(std::abs(curve(result, i, 1, best) - error) <= tiny::squares_apart(images, error));
  }
  // The regulariser at step 0, written out: maps of 4, 8, 8 pixels have one scale, those of 16 two.
  const std::vector<std::int64_t> sizes = tiny::generator().noise_sizes();
  // In float32 each mean of n products errs by n roundoffs of the mean of their magnitudes at most, its square by twice that.
  double expected = 0, rounding = 0;
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    at::Tensor map = at::empty({sizes[k], sizes[k]});
    styleclip::philox_normal(map.mutable_data_ptr<float>(), map.numel(), 0,
                             static_cast<std::uint32_t>(styleclip::PhiloxStream::Noise) + static_cast<std::uint32_t>(k),
                             1);
    while (true) {
      const std::int64_t r = map.size(0);
      double rows = 0, columns = 0, sizes = 0;
      for (std::int64_t y = 0; y < r; ++y) {
        for (std::int64_t x = 0; x < r; ++x) {
          const auto here = map[y][x].item<double>();
          const double across = here * map[(y + r - 1) % r][x].item<double>();
          const double along = here * map[y][(x + r - 1) % r].item<double>();
          rows += across;
          columns += along;
          sizes += std::abs(across) + std::abs(along);
        }
      }
      expected += std::pow(rows / static_cast<double>(r * r), 2) + std::pow(columns / static_cast<double>(r * r), 2);
      rounding += 2 * (std::abs(rows) + std::abs(columns)) / static_cast<double>(r * r) * 0x1p-24 * sizes;
      if (r <= 8) break;
      map = map.view({r / 2, 2, r / 2, 2}).mean({1, 3});
    }
  }
  CHECK(std::abs(curve(result, 1, 4, 0) - expected) <=
        rounding + 2 * 12 * 0x1p-24 * expected);  // twelve squares, summed
}

TEST_CASE("a start, and a weight that keeps near it") {
  const at::Tensor images = pictures(2);
  const at::Tensor start =
      tiny::generator().truncate(tiny::generator().mapping(tiny::generator().sample_z(2, 9)), 1, -1);
  InversionOptions options = plain();
  options.rate_in_sigmas = true;
  const auto free = run_all({}, images, options, start);
  options.lambda_start = 50;
  const auto held = run_all({}, images, options, start);
  CHECK((held.latents - start).square().mean().item<double>() <
        0.5 * (free.latents - start).square().mean().item<double>());
}

TEST_CASE("what is no number, or explodes, stops alone with its best") {
  const at::Tensor images = pictures(2);
  InversionOptions options = plain();
  options.ramp = false;
  options.learning_rate = 1e25;
  const auto result = run_all({}, images, options);
  for (std::int64_t i = 0; i < 2; ++i) {
    const auto end = result.end[i].item<std::int64_t>();
    CHECK(end >= static_cast<std::int64_t>(InversionEnd::NotFinite));
    CHECK(result.best_step[i].item<std::int64_t>() == 0);
  }
  CHECK(result.latents.isfinite().all().item<bool>());
  styleclip::CancelFlag flag;
  flag.set();
  styleclip::RunContext context;
  context.cancel = &flag;
  styleclip::Inverter inverter(tiny::generator(), {}, images, {}, plain(), {});
  CHECK_THROWS_AS(inverter.advance(3, context), styleclip::Aborted);
  CHECK(inverter.step() == 0);
}

TEST_CASE("an inversion that goes on ends where it would have") {
  const at::Tensor images = pictures(3);
  FeatureNetwork network;
  network.clip = &tiny::clip();
  InversionOptions options = projector();
  options.steps = 20;
  styleclip::Inverter whole(tiny::generator(), network, images, {}, options, {});
  CHECK(std::isnan(whole.loss()));
  whole.advance(20, {});
  styleclip::Inverter part(tiny::generator(), network, images, {}, options, {});
  part.advance(7, {});
  const auto kept = part.state();
  part.advance(5, {});  // lost
  styleclip::Inverter resumed(tiny::generator(), network, images, {}, options, {});
  resumed.restore(kept);
  CHECK(resumed.step() == 7);
  CHECK(resumed.loss() == doctest::Approx(kept.at("curves").select(1, 0).select(1, 6).mean().item<double>()));
  CHECK_FALSE(resumed.advance(100, {}));
  const auto same = [](const styleclip::Inverter& a, const styleclip::Inverter& b) {
    const auto of_a = a.state(), of_b = b.state();
    for (const auto& [name, tensor] : of_a) {
      CAPTURE(name);
      CHECK(at::equal(tensor.nan_to_num(-1), of_b.at(name).nan_to_num(-1)));
    }
    CHECK(of_a.size() == of_b.size());
  };
  same(resumed, whole);
  styleclip::Inverter done(tiny::generator(), network, images, {}, options, {});
  done.restore(whole.state());
  CHECK_FALSE(done.advance(1, {}));
  same(done, whole);

  const auto refused = [&](const char* name, const at::Tensor& tensor) {
    auto wrong = kept;
    wrong[name] = tensor;
    return tiny::error_of([&] { resumed.restore(wrong); }).code();
  };
  CHECK(refused("second.2", at::zeros({1})) == ErrorCode::Shape);
  CHECK(refused("point.0", kept.at("point.0").to(at::kDouble)) == ErrorCode::Shape);
  CHECK(refused("step", at::full({1}, 21, at::kLong)) == ErrorCode::Range);
  CHECK(refused("step", at::full({1}, -1, at::kLong)) == ErrorCode::Range);
  CHECK(refused("end", at::full({3}, 9, at::kLong)) == ErrorCode::Range);
  same(resumed, whole);
}

TEST_CASE("modules that compare: features, distances of two, and what is refused") {
  const auto features = perceptual("def forward(self, x):\n    return torch.flatten(x, 1) * 2\n");
  const at::Tensor a = pictures(2), b = pictures(2, 70);
  CHECK_FALSE(features->takes_two());
  const at::Tensor expected = (a - b).square().sum({1, 2, 3});
  CHECK(at::allclose(features->distance(a, features->features(b)), expected * 4, kSumsApart, 0));
  const auto bytes = perceptual(
      "def forward(self, img, resize_images: bool = True, return_lpips: bool = False):\n"
      "    return torch.flatten(img, 1) if return_lpips and not resize_images else img\n");
  // Two roundings each way of numbers up to 255.
  CHECK(at::allclose(bytes->features(a), ((a + 1) * 127.5).flatten(1), 0, 2 * 2 * 0x1p-24 * 255));
  const auto two = perceptual("def forward(self, a, b):\n    return ((a - b) ** 2).sum([1, 2, 3], True)\n");
  CHECK(two->takes_two());
  CHECK(at::allclose(two->distance(a, two->features(b)), expected, kSumsApart, 0));
  CHECK(two->features(at::zeros({1, 3, 300, 280})).sizes() == at::IntArrayRef({1, 3, 256, 256}));

  FeatureNetwork network;
  network.perceptual = two.get();
  InversionOptions options = plain();
  options.lambda_pixel = 0;
  options.lambda_feature = 1;
  const auto result = run_all(network, a, options);
  const auto best = result.best_step[0].item<std::int64_t>();
  CHECK(curve(result, 0, 3, best) == doctest::Approx(curve(result, 0, 1, best) * 3 * 16 * 16).epsilon(kSumsApart));
  CHECK(curve(result, 0, 3, best) < 0.5 * curve(result, 0, 3, 0));

  CHECK(tiny::error_of([] { perceptual("def forward(self, x):\n    return x\n", false); }).code() == ErrorCode::Trust);
  CHECK(tiny::error_of([] { perceptual("def forward(self, x: int):\n    return x\n"); }).code() ==
        ErrorCode::ModelMismatch);
  const auto wrong = perceptual("def forward(self, a, b):\n    return a - b\n");
  CHECK(tiny::error_of([&] { wrong->distance(a, a); }).code() == ErrorCode::ModelMismatch);
}

TEST_CASE("what an inversion refuses") {
  const at::Tensor images = pictures(1);
  const auto code = [](const at::Tensor& given, const InversionOptions& options, const at::Tensor& start = {}) {
    return tiny::error_of([&] { styleclip::Inverter(tiny::generator(), {}, given, start, options, {}); }).code();
  };
  CHECK(code(images.narrow(2, 0, 8), plain()) == ErrorCode::Shape);
  CHECK(code(at::full_like(images, std::nan("")), plain()) == ErrorCode::NotFinite);
  CHECK(code(images, plain(), at::zeros({6, 8})) == ErrorCode::Shape);
  auto options = plain();
  options.lambda_feature = 1;
  CHECK(code(images, options) == ErrorCode::Argument);
  options = plain();
  options.lambda_pixel = -1;
  CHECK(code(images, options) == ErrorCode::Range);
  options = plain();
  options.learning_rate = 0;
  CHECK(code(images, options) == ErrorCode::Range);
  std::vector<at::Tensor> maps;
  for (const std::int64_t r : tiny::generator().noise_sizes()) maps.push_back(at::zeros({1, 1, r, r}));
  auto& generator = tiny::generator();
  const at::Tensor s = generator.styles(generator.truncate(generator.mapping(generator.sample_z(2, 0)), 1, -1));
  CHECK(at::allclose(generator.synthesis(s, maps), generator.synthesis(s, styleclip::NoiseMode::None)));
  maps.pop_back();
  CHECK(tiny::error_of([&] { generator.synthesis(s, maps); }).code() == ErrorCode::Shape);
}
