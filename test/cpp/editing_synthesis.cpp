// The synthesis that the optimiser runs, against the archive's own code: the same pictures, the same gradients.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

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
  // A gradient goes there and back, and its last sums run over the pixels of a layer and of those after it.
  const double terms = tiny::synthesis_terms(generator.tensors());
  double pixels = 0;
  for (const styleclip::StyleLayer& layer : generator.layout().layers) {
    pixels += static_cast<double>(layer.resolution * layer.resolution);
  }
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

TEST_CASE("synthesis: pictures of which few go back together, and channels of several registers") {
  const auto generator = tiny::load<Generator>("stylegan2", R"({"image_size": 128, "channels": [37, 33, 32, 24, 20, 17],
    "z_width": 8, "style_width": 8, "mapping_layers": 2, "mapping_lr_multiplier": 1})");
  const int threads = at::get_num_threads();
  for (const int some : {1, 3}) {
    at::set_num_threads(some);
    check_equal(*generator);
  }
  at::set_num_threads(threads);
}

TEST_CASE("synthesis: a graph outlives what made it, goes back twice, and has no second derivative") {
  const at::Tensor s = tiny::generator().styles(
      tiny::generator().truncate(tiny::generator().mapping(tiny::generator().sample_z(2, 2)), 0.7, -1));
  const at::Tensor leaf = s.clone().requires_grad_(true);
  at::Tensor images;
  {
    const auto fast = DifferentiableSynthesis::of(tiny::generator());
    images = fast->pictures(leaf, true);
  }
  const auto gradient = [&](bool keep) {
    images.backward(at::ones_like(images), keep, false, at::TensorList(leaf));
    const at::Tensor found = leaf.grad().clone();
    leaf.mutable_grad().reset();
    return found;
  };
  const at::Tensor first = gradient(true);
  CHECK(at::equal(first, gradient(true)));
  const styleclip::Error error = tiny::error_of(
      [&] { (void)torch::autograd::grad({images}, {leaf}, {at::ones_like(images)}, true, /*create_graph=*/true); });
  CHECK(error.code() == styleclip::ErrorCode::Argument);
}

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
