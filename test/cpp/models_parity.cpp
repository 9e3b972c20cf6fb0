// Whole networks against an independent evaluation in float64 (tools/fixtures/make_model_fixtures.py), and the lower
// precisions against single precision.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <utility>

#include "models/preprocess.h"
#include "models_fixture.h"

using namespace fixture;

namespace {

const std::pair<std::string, const char*> kClips[] = {{"clip-vit", kVit}, {"clip-resnet", kResnet}};

// A network in half precision errs by its roundings: one unit roundoff for each rounded tensor on the longest way,
// which add up as independent errors do (root of their number); three times that as the bound of the largest.
double half_bound(const std::string& dtype, int roundings) {
  const double unit = dtype == "float16" ? 0x1p-11 : 0x1p-8;
  return 3 * unit * std::sqrt(static_cast<double>(roundings));
}

}  // namespace

TEST_CASE("generator: mapping, styles and synthesis") {
  const Weights vectors = read("generator"), weights = weights_of(vectors);
  const auto model = generator(weights);
  const double bound = rounding_bound(weights);
  CHECK(distance(model->mapping(vectors.at("z")), vectors.at("w")) < bound);
  const at::Tensor w_plus = model->truncate(vectors.at("w"), 1, -1);
  CHECK(distance(model->styles(w_plus), vectors.at("s")) < bound);
  const at::Tensor image = model->synthesis(vectors.at("s"));
  MESSAGE("relative error of the picture " << distance(image, vectors.at("image")) << ", bound " << bound);
  CHECK(distance(image, vectors.at("image")) < bound);
  CHECK(distance(model->truncate(vectors.at("w"), 0, -1).select(1, 3).select(0, 1), weights.at("latent_avg")) == 0);
}

TEST_CASE("CLIP, both picture towers and the text tower") {
  for (const auto& [name, config] : kClips) {
    CAPTURE(name);
    const Weights vectors = read(name), weights = weights_of(vectors);
    const TemporaryFile file(tiny::archive("clip", config, &weights));
    const auto model = styleclip::Clip::load(file.path(), cpu());
    const double bound = rounding_bound(weights);
    const double image = distance(model->encode_image(vectors.at("input")), vectors.at("image"));
    const double text = distance(model->encode_text(vectors.at("tokens")), vectors.at("text"));
    MESSAGE(name << ": image " << image << ", text " << text << ", bound " << bound);
    CHECK(image < bound);
    CHECK(text < bound);
  }
}

TEST_CASE("IR-SE and e4e") {
  const Weights face = read("ir-se"), face_weights = weights_of(face);
  const TemporaryFile identity_file(tiny::archive("ir-se", kIdentity, &face_weights));
  const auto identity = styleclip::Identity::load(identity_file.path(), cpu());
  const at::Tensor embedding = identity->embed(face.at("images"));
  CHECK(distance(embedding, face.at("embedding")) < rounding_bound(face_weights));
  CHECK(at::allclose(embedding.norm(2, 1), at::ones({2})));

  const Weights code = read("e4e"), code_weights = weights_of(code);
  const TemporaryFile encoder_file(tiny::archive("e4e", kEncoder, &code_weights));
  const auto encoder = styleclip::Encoder::load(encoder_file.path(), cpu());
  CHECK(distance(encoder->encode(code.at("images")), code.at("w_plus")) < rounding_bound(code_weights));
}

TEST_CASE("float16 and bfloat16 follow float32") {
  for (const std::string dtype : {"float16", "bfloat16"}) {
    CAPTURE(dtype);
    const Weights vectors = read("generator");
    const auto model = generator(weights_of(vectors), dtype);
    // Mapping and affines stay in single precision.
    CHECK(distance(model->mapping(vectors.at("z")), vectors.at("w")) < 1e-4);
    // Five convolutions of four rounded steps, three toRGB.
    CHECK(distance(model->synthesis(vectors.at("s")), vectors.at("image")) < half_bound(dtype, 23));
    for (const auto& [name, config] : kClips) {
      CAPTURE(name);
      const Weights clip_vectors = read(name), weights = weights_of(clip_vectors);
      const TemporaryFile file(tiny::archive("clip", config, &weights));
      const auto clip = styleclip::Clip::load(file.path(), cpu(dtype));
      // Two blocks of eight steps and four around them; five bottlenecks of eight, nine in stem and pool.
      CHECK(distance(clip->encode_image(clip_vectors.at("input")), clip_vectors.at("image")) < half_bound(dtype, 49));
      CHECK(distance(clip->encode_text(clip_vectors.at("tokens")), clip_vectors.at("text")) < half_bound(dtype, 20));
    }
  }
}

TEST_CASE("large styles do not overflow float16") {
  const Weights vectors = read("generator");
  const at::Tensor s = vectors.at("s") * 3e4;  // demodulation takes the factor out of every convolution
  at::Tensor only_conv = s.clone();
  const auto half = generator(weights_of(vectors), "float16"), single = generator(weights_of(vectors));
  std::int64_t at = 0;
  for (const styleclip::StyleLayer& layer : half->layout().layers) {
    if (layer.to_rgb) only_conv.narrow(1, at, layer.channels).copy_(vectors.at("s").narrow(1, at, layer.channels));
    at += layer.channels;
  }
  const at::Tensor image = half->synthesis(only_conv);
  CHECK(image.isfinite().all().item<bool>());
  CHECK(distance(image, single->synthesis(only_conv)) < half_bound("float16", 23));
}

TEST_CASE("Pillow's resize, bit for bit") {
  const Weights vectors = read("pillow");
  for (const std::string i : {"0", "1", "2"}) {
    const at::Tensor wanted = vectors.at("out." + i);
    const at::Tensor got =
        styleclip::pillow_bicubic(vectors.at("in." + i).unsqueeze(0), wanted.size(0), wanted.size(1)).squeeze(0);
    CHECK(at::equal(got, wanted));
  }
}

TEST_CASE("CLIP's input from pictures of its size: as the formula says, with a gradient and in one pass without") {
  const std::vector<double> mean = {0.48145466, 0.4578275, 0.40821073},
                            deviation = {0.26862954, 0.26130258, 0.27577711};
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(3);
  at::Tensor images = at::randn({3, 3, 12, 12}, engine);
  const auto constant = [](const std::vector<double>& values) {  // as float32 has it
    return at::tensor(values, at::kFloat).to(at::kDouble).view({1, 3, 1, 1});
  };
  const at::Tensor x = images.to(at::kDouble), m = constant(mean), d = constant(deviation);
  const at::Tensor wanted = ((x + 1) / 2 - m) / d;
  // Roundings of ((x + 1) / 2 - m) / d: of the sum and of the difference, over d, and of the quotient; of x s + o, with
  // s = 0.5 / d and o = (0.5 - m) / d: s and the product, o's difference and quotient, and the sum.
  const double u = 0x1p-24;
  const at::Tensor one = u * ((x + 1).abs() / 2 + ((x + 1) / 2 - m).abs()) / d + u * wanted.abs();
  const at::Tensor two = 2 * u * (x / 2 / d).abs() + 2 * u * ((0.5 - m) / d).abs() + u * wanted.abs();
  const double second = 1 + 0x1p-20;  // products of roundings
  const auto off = [&](const at::Tensor& got) { return (got.detach().to(at::kDouble) - wanted).abs(); };

  const at::Tensor plain = styleclip::preprocess_float(images, 12, mean, deviation);
  CHECK((plain.scalar_type() == at::kFloat));
  CHECK(plain.is_contiguous());
  CHECK(off(plain).le(one * second).all().item<bool>());
  const at::Tensor last = images.contiguous(at::MemoryFormat::ChannelsLast);
  CHECK(at::equal(styleclip::preprocess_float(last, 12, mean, deviation), plain));
  CHECK(at::equal(styleclip::preprocess_float(images.narrow(0, 0, 0), 12, mean, deviation), plain.narrow(0, 0, 0)));

  const at::Tensor leaf = images.clone().requires_grad_(true);
  const at::Tensor kept = styleclip::preprocess_float(leaf, 12, mean, deviation);
  REQUIRE(kept.requires_grad());
  CHECK(off(kept).le(two * second).all().item<bool>());
  kept.sum().backward();
  CHECK(((leaf.grad().to(at::kDouble) - 0.5 / d).abs() <= u * (0.5 / d)).all().item<bool>());
  {
    const c10::NoGradGuard no_grad;
    CHECK(at::equal(styleclip::preprocess_float(leaf, 12, mean, deviation), plain));
  }
}
