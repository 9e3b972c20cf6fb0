// The synthesis that the optimiser runs, against the archive's own code: the same pictures, the same gradients.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "editing/synthesis.h"
#include "tiny_world.h"

namespace {

using styleclip::DifferentiableSynthesis;
using styleclip::Generator;
using styleclip::NoiseMode;

// Largest difference over the largest number: both are float32, summed in different orders.
double apart(const at::Tensor& a, const at::Tensor& b) { return ((a - b).abs().max() / b.abs().max()).item<double>(); }

struct Rendered {
  at::Tensor images, gradient;
};
template <class Render>
Rendered rendered(const at::Tensor& s, const at::Tensor& weight, Render&& render) {
  const at::Tensor leaf = s.clone().requires_grad_(true);
  const at::Tensor images = render(leaf);
  (images * weight).sum().backward();
  return {images.detach(), leaf.grad()};
}

void check_equal(Generator& generator) {
  const auto fast = DifferentiableSynthesis::of(generator);
  REQUIRE(fast != nullptr);
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(3);
  // A gradient goes there and back, and its last sums run over the pixels of a layer, 256 at most, and of those after it.
  const double terms = tiny::synthesis_terms(tiny::generator_weights());
  const double pixels = 2 * 16 + 2 * 64 + 3 * 256;
  for (const std::int64_t n : {1, 3}) {
    const at::Tensor s = generator.styles(generator.truncate(generator.mapping(generator.sample_z(n, 2)), 0.7, -1));
    const std::int64_t size = generator.image_size();
    const at::Tensor weight = tiny::normal(engine, {n, 3, size, size});
    for (const bool noise : {true, false}) {
      const auto mode = noise ? NoiseMode::Const : NoiseMode::None;
      const Rendered own = rendered(s, weight, [&](const at::Tensor& x) { return generator.synthesis(x, mode); });
      const Rendered ours = rendered(s, weight, [&](const at::Tensor& x) { return fast->pictures(x, noise); });
      CHECK(apart(ours.images, own.images) < tiny::orders_apart(terms));
      CHECK(apart(ours.gradient, own.gradient) < tiny::orders_apart(2 * terms + pixels));
    }
  }
}

TEST_CASE("synthesis: pictures and gradients are those of the archive's own code") { check_equal(tiny::generator()); }

TEST_CASE("synthesis: a clamp of the activations is kept") {
  const tiny::Weights weights = tiny::generator_weights();
  const std::string config = R"({"image_size": 16, "channels": [6, 5, 4], "z_width": 8, "style_width": 8,
    "mapping_layers": 2, "mapping_lr_multiplier": 1, "conv_clamp": 0.7})";
  const auto generator = tiny::load<Generator>("stylegan2", config, &weights);
  const at::Tensor s = generator->styles(generator->truncate(generator->mapping(generator->sample_z(1, 2)), 0.7, -1));
  CHECK(apart(generator->synthesis(s), tiny::generator().synthesis(s)) > 1e-2);  // it does something
  check_equal(*generator);
}

TEST_CASE("synthesis: half precision is left to the archive's own code") {
  const tiny::Weights weights = tiny::generator_weights();
  const tiny::TemporaryFile file(tiny::archive("stylegan2", tiny::kGeneratorConfig, &weights));
  styleclip::LoadOptions options;
  options.device = "cpu";
  options.dtype = "bfloat16";
  CHECK(DifferentiableSynthesis::of(*Generator::load(file.path(), options)) == nullptr);
}

}  // namespace
