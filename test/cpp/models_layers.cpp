// Layers one by one against formulas written out here in float64, on scripts instantiated alone; then what a network as
// a whole has to keep: gradients, noise, causality.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <doctest/doctest.h>

#include <cmath>

#include "models/build.h"
#include "models/script_text.h"
#include "models/spec.h"
#include "models_fixture.h"

using namespace fixture;

namespace {

// One layer of StyleGAN2 under the names of its script.
struct Layer {
  at::Tensor weight, noise_strength, bias, kernel;
  torch::jit::Module module;
};

Layer make_layer(const char* script, std::int64_t inputs, std::int64_t outputs, bool up) {
  Layer layer{.weight = at::randn({1, outputs, inputs, 3, 3}),
              .noise_strength = at::full({1}, 0.7),
              .bias = at::randn({outputs}),
              .kernel = at::randn({4, 4}),  // not symmetric, so that a flipped filter shows
              .module = {}};
  styleclip::Blueprint blueprint;
  blueprint.kind = "generator";
  using Init = styleclip::TensorSpec::Init;
  blueprint.parameter("conv.weight", {}, Init::Constant, 0);
  blueprint.parameter("noise.weight", {}, Init::Constant, 0);
  blueprint.parameter("activate.bias", {}, Init::Constant, 0);
  if (up) blueprint.buffer("conv.blur.kernel", {}, Init::Constant, 0);
  blueprint.code[""] = {styleclip::script_text(script, {{"", {{{"epsilon", "1e-8"}}}}, {"clamp", {}}}), {}};
  layer.module = styleclip::build_module(blueprint, {{"conv.weight", layer.weight},
                                                     {"noise.weight", layer.noise_strength},
                                                     {"activate.bias", layer.bias},
                                                     {"conv.blur.kernel", layer.kernel}});
  return layer;
}

// w[n,o,i] = W[o,i] s[n,i] / sqrt(9 I), divided by its length: the definition, weight by weight.
at::Tensor modulated_weight(const at::Tensor& weight, const at::Tensor& style) {
  const at::Tensor w = weight.to(at::kDouble) / std::sqrt(9.0 * static_cast<double>(weight.size(2)));
  const at::Tensor scaled = w * style.to(at::kDouble).view({-1, 1, weight.size(2), 1, 1});
  return scaled / (scaled.square().sum({2, 3, 4}, true) + 1e-8).sqrt();
}

at::Tensor finish(const at::Tensor& y, const Layer& layer, const at::Tensor& noise) {
  const at::Tensor v =
      y + layer.noise_strength.to(at::kDouble) * noise.to(at::kDouble) + layer.bias.to(at::kDouble).view({1, -1, 1, 1});
  return at::where(v > 0, v, v * 0.2) * std::sqrt(2.0);
}

// out[p] = sum over taps of in[p + tap - 1] k[3 - tap]: the filter written as loops over its taps.
at::Tensor fir(const at::Tensor& x, const at::Tensor& kernel, std::int64_t before, std::int64_t after) {
  const at::Tensor padded = at::constant_pad_nd(x, {before, after, before, after});
  const std::int64_t height = padded.size(2) - 3, width = padded.size(3) - 3;
  at::Tensor out = at::zeros({x.size(0), x.size(1), height, width}, at::kDouble);
  for (std::int64_t a = 0; a < 4; ++a) {
    for (std::int64_t b = 0; b < 4; ++b) {
      out += padded.narrow(2, a, height).narrow(3, b, width) * kernel[3 - a][3 - b].to(at::kDouble);
    }
  }
  return out;
}

at::Tensor insert_zeros(const at::Tensor& x) {
  at::Tensor wide = at::zeros({x.size(0), x.size(1), 2 * x.size(2), 2 * x.size(3)}, at::kDouble);
  wide.slice(2, 0, std::nullopt, 2).slice(3, 0, std::nullopt, 2).copy_(x);
  return wide;
}

// Fan-in 9 * 8, then a handful of element-wise operations.
constexpr double kLayerBound = (72 + 10) * 0x1p-24;

}  // namespace

TEST_CASE("modulated convolution with demodulation, noise, bias and activation") {
  at::manual_seed(1);
  const Layer layer = make_layer("stylegan2_conv", 8, 6, false);
  const at::Tensor x = at::randn({3, 8, 5, 5}), style = at::randn({3, 8}), noise = at::randn({1, 1, 5, 5});
  const at::Tensor w = modulated_weight(layer.weight, style);
  std::vector<at::Tensor> samples;
  for (std::int64_t i = 0; i < 3; ++i) samples.push_back(at::conv2d(x[i].unsqueeze(0).to(at::kDouble), w[i], {}, 1, 1));
  const at::Tensor wanted = finish(at::cat(samples), layer, noise);
  CHECK(distance(layer.module.get_method("forward")({x, style, noise, false}).toTensor(), wanted) < kLayerBound);
  // In place on its input: the same result, and the input is gone.
  at::Tensor given = x.clone();
  CHECK(distance(layer.module.get_method("forward")({given, style, noise, true}).toTensor(), wanted) < kLayerBound);
  CHECK_FALSE(at::equal(given, x));
}

TEST_CASE("up-sampling convolution: zero insertion, convolution with the weight turned round, FIR") {
  at::manual_seed(2);
  const Layer layer = make_layer("stylegan2_up_conv", 8, 6, true);
  const at::Tensor x = at::randn({2, 8, 4, 4}), style = at::randn({2, 8}), noise = at::randn({2, 1, 8, 8});
  const at::Tensor w = modulated_weight(layer.weight, style);
  std::vector<at::Tensor> samples;
  for (std::int64_t i = 0; i < 2; ++i) {
    // A transposed convolution of stride 2 is a full convolution of the zero-inserted picture with the flipped weight;
    // the row and column of zeros at its end are not part of it.
    const at::Tensor wide = insert_zeros(x[i].unsqueeze(0).to(at::kDouble)).narrow(2, 0, 7).narrow(3, 0, 7);
    samples.push_back(fir(at::conv2d(wide, w[i].flip({2, 3}), {}, 1, 2), layer.kernel, 1, 1));
  }
  const at::Tensor wanted = finish(at::cat(samples), layer, noise);
  CHECK(wanted.size(2) == 8);
  CHECK(distance(layer.module.get_method("forward")({x, style, noise, false}).toTensor(), wanted) < 2 * kLayerBound);
}

TEST_CASE("toRGB: no demodulation; the skip goes through zero insertion and the FIR") {
  at::manual_seed(3);
  styleclip::Blueprint blueprint;
  blueprint.kind = "generator";
  using Init = styleclip::TensorSpec::Init;
  for (const char* name : {"conv.weight", "bias"}) blueprint.parameter(name, {}, Init::Constant, 0);
  blueprint.buffer("upsample.kernel", {}, Init::Constant, 0);
  blueprint.code[""] = {styleclip::script_text("stylegan2_to_rgb", {{"clamp", {}}}), {}};
  const at::Tensor weight = at::randn({1, 3, 8, 1, 1}), bias = at::randn({1, 3, 1, 1}), kernel = at::randn({4, 4});
  const auto module =
      styleclip::build_module(blueprint, {{"conv.weight", weight}, {"bias", bias}, {"upsample.kernel", kernel}});
  const at::Tensor x = at::randn({2, 8, 6, 6}), style = at::randn({2, 8}), skip = at::randn({2, 3, 3, 3});
  at::Tensor wanted = fir(insert_zeros(skip.to(at::kDouble)), kernel, 2, 1) + bias.to(at::kDouble);
  for (std::int64_t i = 0; i < 8; ++i) {
    wanted += x.select(1, i).unsqueeze(1).to(at::kDouble) * weight[0].select(1, i).to(at::kDouble).view({1, 3, 1, 1}) *
              style.select(1, i).to(at::kDouble).view({2, 1, 1, 1}) / std::sqrt(8.0);
  }
  CHECK(distance(module.get_method("forward")({x, style, skip}).toTensor(), wanted) < kLayerBound);
}

TEST_CASE("a picture's gradient with respect to its styles: finite differences in the same network") {
  const Weights vectors = read("generator");
  Weights positive = weights_of(vectors);
  tiny::keep_activations_positive(positive);  // a kink beside the picture would be part of every difference
  const auto model = generator(positive);
  const at::Tensor s = vectors.at("s").narrow(0, 0, 1).abs().requires_grad_(true);
  at::manual_seed(4);
  const at::Tensor probe = at::randn({1, 3, 16, 16});
  (model->synthesis(s) * probe).sum().backward();
  const at::Tensor direction = at::randn(s.sizes());
  const at::NoGradGuard guard;
  const auto value = [&](double step) {
    return (model->synthesis(s.detach() + step * direction).to(at::kDouble) * probe).sum().item<double>();
  };
  const double h = 1e-2, numeric = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h);
  const double exact = (s.grad() * direction).sum().item<double>();
  // float32 values of about 50 with 1e-6 relative rounding, divided by the step.
  CHECK(std::abs(numeric - exact) < 2e-2 * std::max(1.0, std::abs(exact)));
  // The same numbers with and without autograd, where convolutions write over their inputs.
  CHECK(at::allclose(generator(weights_of(vectors))->synthesis(vectors.at("s")), vectors.at("image"), 1e-4, 1e-4));
}

TEST_CASE("models loaded in inference mode can be differentiated afterwards") {
  std::shared_ptr<styleclip::Generator> model;
  {
    const c10::InferenceMode inference;
    model = generator(weights_of(read("generator")));
  }
  at::Tensor w = at::randn({1, 6, 7}).requires_grad_(true);
  model->synthesis(model->styles(w)).sum().backward();
  CHECK(w.grad().abs().sum().item<double>() > 0);
}

TEST_CASE("noise: stored, none, and random by number of the picture") {
  Weights vectors = read("generator");
  Weights weights = weights_of(vectors);
  const at::Tensor s = vectors.at("s");
  const auto model = generator(weights);
  const auto none = model->synthesis(s, styleclip::NoiseMode::None);
  for (auto& [name, tensor] : weights) {
    if (name.ends_with("noise.weight")) tensor = at::zeros_like(tensor);
  }
  CHECK(distance(none, generator(weights)->synthesis(s)) < 1e-5);
  const at::Tensor random = model->synthesis(s, styleclip::NoiseMode::Random, 9);
  CHECK(distance(random, none) > 0.01);
  CHECK(at::equal(random, model->synthesis(s, styleclip::NoiseMode::Random, 9)));
  CHECK_FALSE(at::equal(random, model->synthesis(s, styleclip::NoiseMode::Random, 10)));
  CHECK(distance(model->synthesis(s.narrow(0, 2, 1), styleclip::NoiseMode::Random, 9, 2), random.narrow(0, 2, 1)) <
        1e-5);
}

TEST_CASE("truncation: both conventions") {
  const Weights vectors = read("generator");
  const auto model = generator(weights_of(vectors));
  const at::Tensor w = vectors.at("w"), average = vectors.at("weights.latent_avg");
  const at::Tensor short_w = average + 0.7 * (w - average);
  const at::Tensor all = model->truncate(w, 0.7, -1), some = model->truncate(w, 0.7, 2);
  CHECK(all.sizes() == at::IntArrayRef({3, 6, 7}));
  for (std::int64_t row = 0; row < 6; ++row) {
    CHECK(at::allclose(all.select(1, row), short_w));
    CHECK(at::allclose(some.select(1, row), row < 2 ? short_w : w));
  }
  CHECK(at::equal(model->truncate(w, 0.7, 99), all));
}

TEST_CASE("text is read at the first end of text, and no token sees a later one") {
  const Weights vectors = read("clip-vit"), weights = weights_of(vectors);
  const TemporaryFile file(tiny::archive("clip", kVit, &weights));
  const auto model = styleclip::Clip::load(file.path(), cpu());
  at::Tensor tokens = vectors.at("tokens").clone();
  const at::Tensor before = model->encode_text(tokens);
  tokens[0].slice(0, 5).fill_(7);   // after the end
  tokens[1].slice(0, 4).fill_(29);  // more ends of text
  CHECK(distance(model->encode_text(tokens), before) < 1e-6);
  tokens[0][2] = 9;
  CHECK(distance(model->encode_text(tokens)[0], before[0]) > 1e-3);
}

TEST_CASE("GELU and QuickGELU are two activations") {
  styleclip::Blueprint blueprint;
  blueprint.kind = "clip";
  Weights weights;
  using Init = styleclip::TensorSpec::Init;
  const auto add = [&](const std::string& name, at::Tensor value) {
    blueprint.parameter(name, {}, Init::Constant, 0);
    weights[name] = std::move(value);
  };
  const at::Tensor fc = at::randn({16, 4}), projection = at::randn({4, 16});
  add("attn.in_proj_weight", at::randn({12, 4}));
  add("attn.in_proj_bias", at::zeros({12}));
  add("attn.out_proj.weight", at::zeros({4, 4}));  // attention adds nothing
  add("attn.out_proj.bias", at::zeros({4}));
  for (const std::string norm : {"ln_1", "ln_2"}) {
    add(norm + ".weight", at::ones({4}));
    add(norm + ".bias", at::zeros({4}));
    blueprint.code[norm] = {styleclip::script_text("layer_norm"), {}};
  }
  add("mlp.c_fc.weight", fc);
  add("mlp.c_fc.bias", at::zeros({16}));
  add("mlp.c_proj.weight", projection);
  add("mlp.c_proj.bias", at::zeros({4}));
  const at::Tensor x = at::randn({2, 3, 4}), d = x.to(at::kDouble);
  const at::Tensor centred = d - d.mean({2}, true);
  const at::Tensor h = at::matmul(centred / (centred.square().mean({2}, true) + 1e-5).sqrt(), fc.to(at::kDouble).t());
  for (const bool quick : {true, false}) {
    blueprint.code[""] = {styleclip::script_text("clip_block"), {{"heads", std::int64_t{2}}, {"quick_gelu", quick}}};
    const auto module = styleclip::build_module(blueprint, weights);
    const at::Tensor active = quick ? h / (1 + (-1.702 * h).exp()) : h * 0.5 * (1 + (h / std::sqrt(2.0)).erf());
    const at::Tensor wanted = d + at::matmul(active, projection.to(at::kDouble).t());
    CHECK(distance(module.get_method("forward")({x, false}).toTensor(), wanted) < 60 * 0x1p-24);
  }
}
