// Training an encoder: the network that is trained is the archive's, a run goes on to the same weights bit for bit, and the
// held-out error falls.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>

#include "editing/augment.h"
#include "editing/encoder_network.h"
#include "float64_world.h"
#include "models_fixture.h"
#include "styleclip/encoder_training.h"
#include "tiny_world.h"

using styleclip::ErrorCode;

namespace {

// For the tiny generator: 6 rows of 8 numbers, wide and narrow blocks, heads narrower than the styles.
const char* const kNarrow =
    R"({"image_size": 32, "rows": 6, "style_width": 8, "channels": [8, 8, 16, 16], "blocks": [1, 2, 1, 1],
        "reduction": 4, "head_width": 6})";

std::shared_ptr<styleclip::Encoder> encoder(const char* config, const fixture::Weights* weights = nullptr) {
  return tiny::load<styleclip::Encoder>("e4e", config, weights);
}

styleclip::EncoderTrainingOptions settings() {
  styleclip::EncoderTrainingOptions options;
  options.steps = 60;
  options.batch = 4;
  options.warm_up = 5;
  options.learning_rate = 5e-3;
  options.validation = 10;
  return options;
}

styleclip::EncoderTrainer trainer(const styleclip::EncoderTrainingOptions& options) {
  const auto start = encoder(kNarrow);
  return {tiny::generator(), *start, &tiny::clip(), nullptr, options, {}};
}

bool same(const std::map<std::string, at::Tensor>& a, const std::map<std::string, at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, tensor] : a) {
    if (!at::equal(tensor, b.at(name))) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("the network that is trained gives the archive's numbers with stored statistics, e4e's and pSp's") {
  const c10::AutoGradMode gradient(false);
  const fixture::Weights code = fixture::read("e4e"), weights = fixture::weights_of(code);
  const auto model = encoder(fixture::kEncoder, &weights);
  const styleclip::EncoderNetwork network(*model);
  const at::Tensor got = network.forward(code.at("images"), nullptr, at::kFloat);
  CHECK(fixture::distance(got, code.at("w_plus")) < fixture::rounding_bound(weights));
  for (const std::string structure : {"e4e", "psp"}) {
    std::string config = kNarrow;
    config.insert(1, "\"structure\": \"" + structure + "\", ");
    const auto narrow = encoder(config.c_str());
    const at::Tensor images = at::rand({3, 3, 32, 32}) * 2 - 1;
    const styleclip::EncoderNetwork own(*narrow);
    float64::Network exact("e4e", config, narrow->tensors());
    const auto encode = [&]() -> float64::Tensors { return {exact("encode", {float64::wide(images)})}; };
    constexpr double kPixels = 16 * 16;  // of an excitation's mean
    const float64::Rounded wanted = float64::rounded({&exact}, kPixels, encode);
    float64::check_rounded(narrow->encode(images), wanted, 0);
    float64::check_rounded(own.forward(images, nullptr, at::kFloat), wanted, 0);
    // Sums are in float32 still. Six roundings to bfloat16 a block: of its weights, the product, the normalisation, the
    // activation, the excitation and the sum with the shortcut.
    const double by = 3 * rounding::roundoff(at::kBFloat16) * std::sqrt(6);
    const float64::Rounded coarse = float64::moved({&exact}, by, encode);
    const at::Tensor half = own.forward(images, nullptr, at::kBFloat16);
    const double apart = (float64::wide(half) - coarse.exact[0]).abs().max().item<double>();
    CHECK(apart <= coarse.bounds[0]);
    CHECK(apart > wanted.bounds[0]);  // it is bfloat16
  }
}

TEST_CASE("batch statistics: normalised by the batch, running ones moved by a tenth, nothing else") {
  const c10::AutoGradMode gradient(false);
  const auto model = encoder(kNarrow);
  const styleclip::EncoderNetwork network(*model);
  const at::Tensor images = at::rand({5, 3, 32, 32}) * 2 - 1;
  styleclip::EncoderNetwork::Statistics statistics;
  network.forward(images, &statistics, at::kFloat);
  const at::Tensor weight = float64::wide(network.tensors().at("input_layer.0.weight")), x = float64::wide(images);
  const at::Tensor first = at::conv2d(x, weight, {}, {1, 1}, {1, 1});
  const at::Tensor sizes = at::conv2d(x.abs(), weight.abs(), {}, {1, 1}, {1, 1});
  // A product sums 3 · 9 terms, the statistics 5 · 32 · 32 products; a sum of n terms errs by the root of n roundoffs of its
  // terms' sizes (they are independent), three times that at most. Then a quotient, a tenth, and the sum with the old one.
  const double pixels = 5 * 32 * 32, u = 0x1p-24, off = 3 * u * std::sqrt(27 + pixels) + 5 * u;
  const at::Tensor mean = first.mean({0, 2, 3}), mean_size = sizes.mean({0, 2, 3});
  const at::Tensor told = float64::wide(statistics.at("input_layer.1.running_mean"));
  CHECK(((told - 0.1 * mean).abs() - 0.1 * off * mean_size).max().item<double>() <= 0);
  // The variance without bias; what a mean of squares is off by is twice what its terms are, of the mean square.
  const at::Tensor variance = first.var({0, 2, 3}, true), square = sizes.square().mean({0, 2, 3});
  const at::Tensor spread = float64::wide(statistics.at("input_layer.1.running_var"));
  CHECK(((spread - (0.9 + 0.1 * variance)).abs() - 0.2 * off * square - 3 * u * (0.9 + 0.1 * variance))
            .max()
            .item<double>() <= 0);
  CHECK(network.tensors().at("input_layer.1.running_mean").eq(0).all().item<bool>());
  std::size_t norms = 0;
  for (const auto& [name, tensor] : network.tensors()) norms += name.ends_with("running_mean") ? 1 : 0;
  CHECK(statistics.size() == 2 * norms);
}

TEST_CASE("the held-out error falls, the best weights are kept, and they make an archive that gives it") {
  auto options = settings();
  options.steps = 150;
  options.lambda_clip = 0.1;
  auto run = trainer(options);
  const double before = run.validate({}).image;
  CHECK(run.best_step() == 0);
  double first = 0;
  for (int i = 0; i < 5; ++i) {
    const double total = run.advance(30, {}).total;
    if (i == 0) first = total;
    if (i == 4) CHECK(total < first);
    run.validate({});
  }
  CHECK(run.step() == 150);
  CHECK(run.best_image() < 0.7 * before);
  const auto weights = run.weights(true);
  const auto made = encoder(run.config().c_str(), &weights);
  // Held-out samples are numbers from 2^40 on; what the archive reaches on them is what validation said.
  auto& generator = tiny::generator();
  const at::Tensor w = generator.truncate(generator.mapping(generator.sample_z(10, 0, std::int64_t{1} << 40)), 1, -1);
  const at::Tensor images = generator.synthesis(generator.styles(w));
  const at::Tensor seen = styleclip::augmented(images, 0, 0, 0);
  const at::Tensor again = generator.synthesis(generator.styles(made->encode(at::adaptive_avg_pool2d(seen, {32, 32}))));
  // Pictures and their copies in float64, each with roundings of its own; a number that rounds to the next of 256 levels on
  // the way is among what they do.
  float64::Generator once(tiny::kGeneratorConfig, generator), twice(tiny::kGeneratorConfig, generator);
  float64::Network encoder64("e4e", run.config(), made->tensors());
  const float64::Rounded error = float64::rounded({&once, &twice, &encoder64}, 16 * 16, [&]() -> float64::Tensors {
    const at::Tensor drawn = once.synthesis(once.styles(float64::wide(w)));
    const at::Tensor shown = at::adaptive_avg_pool2d(styleclip::augmented(drawn.to(at::kFloat), 0, 0, 0), {32, 32});
    const at::Tensor copies = twice.synthesis(twice.styles(encoder64("encode", {float64::wide(shown)})));
    return {(copies - drawn).square().mean().view({1})};
  });
  float64::check_rounded(at::full({1}, run.best_image(), at::kDouble), error, 0);
  float64::check_rounded((again - images).square().mean().view({1}), error, 0);
}

TEST_CASE("Ranger: the first update is RAdam's without the second moment, and Lookahead is part of the state") {
  auto options = settings();
  options.optimizer = styleclip::TrainingOptimizer::Ranger;
  options.warm_up = 0;
  options.clip_gradient = 1e9;
  auto run = trainer(options);
  const auto before = run.state();
  run.advance(1, {});
  const auto after = run.state();
  CHECK(at::equal(before.at("weights.latlayer1.weight"), before.at("slow.latlayer1.weight")));
  CHECK(at::equal(after.at("slow.latlayer1.weight"), before.at("slow.latlayer1.weight")));
  // β1 is 0.95: the first moment is 0.05 g, and the step rate · g. Beside the step's constant, its product and the result
  // are rounded.
  constexpr double u = 0x1p-24;
  const at::Tensor moment = float64::wide(after.at("first.latlayer1.weight"));
  const at::Tensor step = options.learning_rate / 0.05 * moment;
  const at::Tensor moved = float64::wide(before.at("weights.latlayer1.weight")) - step;
  CHECK(((float64::wide(after.at("weights.latlayer1.weight")) - moved).abs() - 2 * u * step.abs() - u * moved.abs())
            .max()
            .item<double>() <= 0);
  // Centralised: g is what Adam's first moment is a tenth of, to within a constant's rounding and a product's. Then its row's
  // mean, a sum of 16 and a quotient; the difference; a constant and a product.
  auto plain = settings();
  plain.warm_up = 0;
  plain.clip_gradient = 1e9;
  auto same_gradient = trainer(plain);
  same_gradient.advance(1, {});
  const at::Tensor g = float64::wide(same_gradient.state().at("first.latlayer1.weight")) / 0.1;
  const at::Tensor mean = g.mean({1, 2, 3}, true), size = g.abs().mean({1, 2, 3}, true), centred = g - mean;
  const at::Tensor off = 2 * u * (g.abs() + size) + 16 * u * size + 3 * u * (centred.abs() + size);
  CHECK(((moment - 0.05 * centred).abs() - 0.05 * off).max().item<double>() <= 0);
  CHECK(mean.abs().max().item<double>() > off.max().item<double>());  // it makes a difference
  run.advance(5, {});
  CHECK_FALSE(at::equal(run.state().at("slow.latlayer1.weight"), before.at("slow.latlayer1.weight")));
  CHECK(at::equal(run.state().at("slow.latlayer1.weight"), run.state().at("weights.latlayer1.weight")));

  auto resumed = trainer(options);
  resumed.restore(after);
  resumed.advance(5, {});
  CHECK(same(resumed.state(), run.state()));
  auto adam = trainer(settings());
  CHECK_FALSE(adam.state().contains("slow.latlayer1.weight"));
  auto missing = after;
  missing.erase("slow.latlayer1.weight");
  CHECK(tiny::error_of([&] { resumed.restore(missing); }).code() == ErrorCode::Shape);
}

TEST_CASE("a run that goes on reaches the same weights") {
  auto whole = trainer(settings());
  whole.validate({});
  whole.advance(20, {});
  whole.validate({});
  whole.advance(20, {});
  auto part = trainer(settings());
  part.validate({});
  part.advance(20, {});
  part.validate({});
  part.advance(7, {});
  const auto kept = part.state();
  part.advance(5, {});  // lost
  auto resumed = trainer(settings());
  resumed.restore(kept);
  CHECK(resumed.step() == 27);
  CHECK(same(resumed.state(), kept));
  resumed.advance(13, {});
  CHECK(same(resumed.state(), whole.state()));

  auto missing = kept;
  missing.erase("first.latlayer1.bias");
  CHECK(tiny::error_of([&] { resumed.restore(missing); }).code() == ErrorCode::Shape);
  auto other = kept;
  other["weights.latlayer1.bias"] = at::zeros({3});
  CHECK(tiny::error_of([&] { resumed.restore(other); }).code() == ErrorCode::Shape);
  CHECK(same(resumed.state(), whole.state()));
}

TEST_CASE("an abort leaves the last whole step") {
  auto run = trainer(settings());
  run.advance(3, {});
  const auto kept = run.state();
  styleclip::CancelFlag flag;
  flag.set();
  styleclip::RunContext context;
  context.cancel = &flag;
  CHECK_THROWS_AS(run.advance(3, context), styleclip::Aborted);
  CHECK_THROWS_AS(run.validate(context), styleclip::Aborted);
  CHECK(same(run.state(), kept));
}

TEST_CASE("a loss that is no number stops the run before the step") {
  auto run = trainer(settings());
  run.validate({});
  run.advance(2, {});
  auto state = run.state();
  state.at("weights.latlayer1.bias").fill_(std::numeric_limits<float>::infinity());
  run.restore(state);
  const auto best = run.weights(true);
  CHECK(tiny::error_of([&] { run.advance(1, {}); }).code() == ErrorCode::NotFinite);
  CHECK(run.step() == 2);
  CHECK(same(run.state(), state));
  CHECK(same(run.weights(true), best));
}

TEST_CASE("what an encoder's training refuses") {
  const auto code = [](const styleclip::EncoderTrainingOptions& options, const char* config = kNarrow) {
    const auto start = encoder(config);
    return tiny::error_of([&] { styleclip::EncoderTrainer(tiny::generator(), *start, nullptr, nullptr, options, {}); })
        .code();
  };
  auto options = settings();
  options.lambda_image = -1;
  CHECK(code(options) == ErrorCode::Range);
  options = settings();
  options.batch = 1;
  CHECK(code(options) == ErrorCode::Range);
  options = settings();
  options.mixing = 1.5;
  CHECK(code(options) == ErrorCode::Range);
  options = settings();
  options.lambda_id = 0.1;
  CHECK(code(options) == ErrorCode::Argument);
  options = settings();
  options.lambda_clip = 0.1;
  CHECK(code(options) == ErrorCode::Argument);
  CHECK(code(settings(), R"({"image_size": 32, "rows": 7, "style_width": 8, "channels": [8, 8, 16, 16],
                             "blocks": [1, 1, 1, 1], "reduction": 4})") == ErrorCode::ModelMismatch);
}

TEST_CASE("disturbed pictures: by number alone, in range, rounded, and only as far as asked") {
  const at::Tensor images = at::rand({6, 3, 20, 20}) * 2 - 1;
  const at::Tensor all = styleclip::augmented(images, 1, 3, 10);
  CHECK(at::equal(all.narrow(0, 2, 2), styleclip::augmented(images.narrow(0, 2, 2), 1, 3, 12)));
  CHECK_FALSE(at::equal(all, styleclip::augmented(images, 1, 4, 10)));
  CHECK(all.abs().max().item<double>() <= 1);
  CHECK(at::equal(styleclip::from_uint8_nhwc(styleclip::to_uint8_nhwc(all)), all));
  const at::Tensor plain = styleclip::augmented(images, 0, 3, 10);
  // Half of one of 255 steps from -1 to 1, and roundings of numbers up to 255.
  CHECK((plain - images).abs().max().item<double>() <= 1 / 255.0 + 4 * 0x1p-24 * 255 / 127.5);
  const double weak = (styleclip::augmented(images, 0.1, 3, 10) - images).square().mean().item<double>();
  const double strong = (all - images).square().mean().item<double>();
  CHECK(weak < strong / 4);
}
