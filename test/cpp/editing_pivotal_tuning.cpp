// Pivotal tuning: a tuned generator is the original one and its difference, a tuning that was stopped goes on, and locality
// keeps it near the original beside the pivots.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "float64_world.h"
#include "styleclip/inversion.h"
#include "tiny_world.h"

using styleclip::ErrorCode;
using styleclip::FeatureNetwork;

namespace {

at::Tensor pictures(std::int64_t count) {
  auto& generator = tiny::generator();
  const at::Tensor w = generator.truncate(generator.mapping(generator.sample_z(count, 2, 50)), 1, -1);
  return generator.synthesis(generator.styles(w));
}

// A tuning of two pictures, and what it is asked with.
struct Tuning {
  explicit Tuning(const styleclip::TuningOptions& options, const FeatureNetwork& network = {})
      : generator(tiny::load_generator(tiny::generator_weights())),
        pivots(generator->truncate(generator->mapping(generator->sample_z(2, 4)), 1, -1)),
        tuner(*generator, network, pictures(2), pivots, {}, options) {}

  std::shared_ptr<styleclip::Generator> generator;
  at::Tensor pivots;
  styleclip::PivotalTuner tuner;
};

styleclip::TuningOptions tuning(std::int64_t steps) {
  styleclip::TuningOptions options;
  options.steps = steps;
  options.learning_rate = 3e-3;
  options.lambda_feature = 0;
  return options;
}

}  // namespace

TEST_CASE("pivotal tuning: the picture comes nearer, the difference makes a fresh generator the tuned one") {
  const at::Tensor images = pictures(2);
  const auto copy = tiny::load_generator(tiny::generator_weights());
  const at::Tensor pivots = copy->truncate(copy->mapping(copy->sample_z(2, 4)), 1, -1);
  styleclip::TuningOptions options;
  options.steps = 60;
  options.learning_rate = 3e-3;
  options.lambda_feature = 0;
  styleclip::PivotalTuner tuner(*copy, {}, images, pivots, {}, options);
  while (tuner.advance(11, {})) {
  }
  CHECK(tuner.step() == 60);
  const at::Tensor curve = tuner.curve();
  CHECK(curve.sizes() == at::IntArrayRef({60, 4}));
  CHECK(curve.select(1, 3).eq(0).all().item<bool>());
  const auto error = [&](styleclip::Generator& generator) {
    return (generator.synthesis(generator.styles(pivots)) - images).square().mean().item<double>();
  };
  const double untuned = error(tiny::generator());
  CHECK(std::abs(curve[0][1].item<double>() - untuned) <= tiny::squares_apart(images, untuned));
  CHECK(error(*copy) < 0.5 * untuned);
  const auto difference = tuner.difference();
  CHECK(difference.contains("convs.0.conv.weight"));
  CHECK_FALSE(difference.contains("style.1.weight"));
  CHECK_FALSE(difference.contains("noises.noise_0"));
  for (const auto& [name, tensor] : copy->tensors()) CHECK_FALSE(tensor.requires_grad());

  const auto fresh = tiny::load_generator(tiny::generator_weights());
  styleclip::apply_difference(*fresh, difference);
  // The difference and the sum are rounded to float32, and are exact where a weight has not moved far (Sterbenz).
  const auto tuned = copy->tensors(), made = fresh->tensors();
  for (const auto& [name, tensor] : tuned) {
    CAPTURE(name);
    if (!difference.contains(name)) {
      CHECK(at::equal(made.at(name), tensor));
      continue;
    }
    const at::Tensor most = 0x1p-24 * (difference.at(name).abs() + tensor.abs());
    CHECK(((made.at(name) - tensor).abs() - most).max().item<double>() <= 0);
  }
  auto kept = made;
  for (auto& [name, tensor] : kept) tensor = tensor.clone();
  CHECK(tiny::error_of([&] { styleclip::apply_difference(*fresh, {{"nothing", at::zeros({1})}}); }).code() ==
        ErrorCode::ModelMismatch);
  auto broken = difference;
  broken.begin()->second = at::full_like(broken.begin()->second, std::numeric_limits<float>::quiet_NaN());
  CHECK(tiny::error_of([&] { styleclip::apply_difference(*fresh, broken); }).code() == ErrorCode::NotFinite);
  for (const auto& [name, tensor] : fresh->tensors()) CHECK(at::equal(tensor, kept.at(name)));

  options.learning_rate = 1e30;
  const auto other = tiny::load_generator(tiny::generator_weights());
  styleclip::PivotalTuner wild(*other, {}, images, pivots, {}, options);
  CHECK(tiny::error_of([&] { wild.advance(10, {}); }).code() == ErrorCode::NotFinite);
  const auto original = tiny::generator().tensors();
  for (const auto& [name, tensor] : other->tensors()) CHECK(at::equal(tensor, original.at(name)));
}

TEST_CASE("a tuning that goes on ends where it would have") {
  styleclip::TuningOptions options = tuning(12);
  options.lambda_locality = 0.1;
  options.locality_distance = 2;
  Tuning whole(options), part(options), resumed(options);
  CHECK(std::isnan(whole.tuner.loss()));
  whole.tuner.advance(12, {});
  part.tuner.advance(5, {});
  const auto kept = part.tuner.state();
  part.tuner.advance(2, {});  // lost
  resumed.tuner.restore(kept);
  CHECK(resumed.tuner.step() == 5);
  CHECK(resumed.tuner.loss() == part.tuner.curve()[4][0].item<double>());
  CHECK_FALSE(resumed.tuner.advance(50, {}));
  const auto same = [](const styleclip::PivotalTuner& a, const styleclip::PivotalTuner& b) {
    const auto of_a = a.state(), of_b = b.state();
    for (const auto& [name, tensor] : of_a) {
      CAPTURE(name);
      CHECK(at::equal(tensor, of_b.at(name)));
    }
    CHECK(of_a.size() == of_b.size());
  };
  same(resumed.tuner, whole.tuner);
  CHECK(at::equal(whole.tuner.curve(), resumed.tuner.curve()));
  // The best weights are of a total that was seen: those before the step of the lowest one.
  const auto lowest = whole.tuner.curve().select(1, 0).argmin().item<std::int64_t>();
  Tuning before(options);
  before.tuner.advance(lowest, {});
  const auto best = whole.tuner.difference(true), there = before.tuner.difference();
  for (const auto& [name, tensor] : best) CHECK(at::equal(tensor, there.at(name)));

  auto wrong = kept;
  wrong["best.conv1.conv.weight"] = at::zeros({1});
  CHECK(tiny::error_of([&] { resumed.tuner.restore(wrong); }).code() == ErrorCode::Shape);
  wrong = kept;
  wrong["numbers"] = at::tensor({13.0, 0.0, 0.0}, at::kDouble);
  CHECK(tiny::error_of([&] { resumed.tuner.restore(wrong); }).code() == ErrorCode::Range);
  wrong["numbers"] = at::tensor({6.0, 0.0, 0.0}, at::kDouble);  // more than the curve has
  CHECK(tiny::error_of([&] { resumed.tuner.restore(wrong); }).code() == ErrorCode::Shape);
  same(resumed.tuner, whole.tuner);

  // One that ended early, before its first update, stays ended.
  FeatureNetwork network;
  network.clip = &tiny::clip();
  options.lambda_feature = 1;
  options.enough = 1e3;
  Tuning early(options, network), later(options, network);
  CHECK_FALSE(early.tuner.advance(5, {}));
  CHECK(early.tuner.step() == 0);
  later.tuner.restore(early.tuner.state());
  CHECK_FALSE(later.tuner.advance(5, {}));
  same(later.tuner, early.tuner);
}

TEST_CASE("locality: what is told is the distance to the original near the pivots, and it keeps tuning near them") {
  styleclip::TuningOptions options = tuning(40);
  options.seed = 3;
  options.locality_distance = 1.5;
  options.lambda_locality = 1e-9;  // told, and next to nothing else
  Tuning free(options);
  auto& original = tiny::generator();
  // The latent of a step, by the released code's formula: 1.5 along the way from the pivot to a truncated sample.
  const auto place = [&](std::int64_t step) {
    const at::Tensor pivot = free.pivots.narrow(0, step % 2, 1);
    const at::Tensor way = original.truncate(original.mapping(original.sample_z(1, 3, step)), 0.5, -1) - pivot;
    return pivot + way / way.norm() * 1.5;
  };
  const auto apart = [&](styleclip::Generator& generator, std::int64_t step) {
    const auto draw = [&](styleclip::Generator& by) {
      return by.synthesis(by.styles(place(step)), styleclip::NoiseMode::None);
    };
    return (draw(generator) - draw(original)).square().mean().item<double>();
  };
  free.tuner.advance(20, {});
  // Before step 20's update, in float64, each picture with roundings of its own.
  float64::Generator before(tiny::kGeneratorConfig, original), tuned(tiny::kGeneratorConfig, *free.generator);
  std::vector<at::Tensor> none(original.noise_sizes().size(), at::zeros({1, 1, 1, 1}, at::kDouble));
  const float64::Rounded now = float64::rounded({&before, &tuned}, 1, [&]() -> float64::Tensors {
    const at::Tensor latent = float64::wide(place(20));
    const at::Tensor here = before.synthesis(before.styles(latent), none);
    return {(tuned.synthesis(tuned.styles(latent), none) - here).square().mean().view({1})};
  });
  CHECK(now.exact[0].item<double>() > 0);
  free.tuner.advance(1, {});
  float64::check_rounded(free.tuner.curve()[20].narrow(0, 3, 1), now, 0);
  CHECK(free.tuner.curve()[0][3].item<double>() == 0);
  free.tuner.advance(19, {});

  options.lambda_locality = 10;
  Tuning held(options);
  held.tuner.advance(40, {});
  const at::Tensor last = held.tuner.curve()[39];
  const double parts = last[1].item<double>() + 10 * last[3].item<double>();
  CHECK(std::abs(last[0].item<double>() - parts) <=
        4 * 0x1p-53 * parts);  // a product and a sum in float64, here and there
  double far = 0, near = 0;
  for (std::int64_t step = 100; step < 120; ++step) {
    far += apart(*free.generator, step);
    near += apart(*held.generator, step);
  }
  CHECK(near < 0.5 * far);
  const auto fresh = tiny::load_generator(tiny::generator_weights());
  CHECK(at::equal(held.generator->tensors().at("conv1.conv.weight") - fresh->tensors().at("conv1.conv.weight"),
                  held.tuner.difference().at("conv1.conv.weight")));

  FeatureNetwork network;
  network.clip = &tiny::clip();
  options.lambda_feature = 1;
  Tuning with_features(options, network);
  with_features.tuner.advance(3, {});
  CHECK(with_features.tuner.curve()[2][3].item<double>() > 0);
  for (const double wrong : {-1.0, std::nan("")}) {
    options.lambda_locality = wrong;
    CHECK(tiny::error_of([&] { Tuning refused(options, network); }).code() == ErrorCode::Range);
  }
  options.lambda_locality = 0.1;
  options.locality_distance = 0;
  CHECK(tiny::error_of([&] { Tuning refused(options, network); }).code() == ErrorCode::Range);
}
