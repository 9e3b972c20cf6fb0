// Variants of the networks that checkpoints of the field have: conditional generators, clamps, mappers, IR, pSp.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "models/spec.h"
#include "models_fixture.h"
#include "styleclip/relevance.h"

using namespace fixture;
using styleclip::ErrorCode;
using styleclip::Generator;
using styleclip::Mapper;

namespace {

std::set<std::string> names(const char* architecture, const char* config) {
  std::set<std::string> found;
  for (const auto& spec : styleclip::make_blueprint(architecture, config).tensors) found.insert(spec.name);
  return found;
}

ErrorCode code(const char* architecture, const char* config) {
  return error_of([&] { styleclip::make_blueprint(architecture, config); }).code();
}

template <class Model>
std::shared_ptr<Model> make(const char* architecture, const char* config) {
  const TemporaryFile file(tiny::archive(architecture, config, nullptr));
  return Model::load(file.path(), cpu());
}

}  // namespace

TEST_CASE("a conditional generator: labels in, an average over all classes") {
  const auto model = make<Generator>(
      "stylegan2",
      R"({"image_size": 8, "channels": [4, 3], "z_width": 5, "style_width": 6, "mapping_layers": 2, "label_width": 3,
          "label_features": 4, "mapping_width": 7})");
  CHECK(model->label_dim() == 3);
  CHECK(nlohmann::json::parse(model->description().json)["label_width"] == 3);
  const Weights tensors = model->tensors();
  CHECK(tensors.at("embed.weight").sizes() == at::IntArrayRef({4, 3}));
  CHECK(tensors.at("style.1.weight").sizes() == at::IntArrayRef({7, 5 + 4}));
  CHECK(tensors.at("style.2.weight").sizes() == at::IntArrayRef({6, 7}));

  // Samples take the classes in turn, whatever number they begin with.
  CHECK(at::equal(model->sample_labels(4, 2).argmax(1), at::tensor({2, 0, 1, 2}, at::kLong)));
  const at::Tensor z = model->sample_z(4096, 0), labels = model->sample_labels(4096);
  const at::Tensor w = model->mapping(z, labels);
  CHECK(distance(tensors.at("latent_avg"), w.mean(0)) < 1e-5);
  CHECK(distance(model->mapping(z, labels.flip({1})), w) > 0.01);

  // Statistics, and sweeps with them, run over all classes.
  const styleclip::StyleStatistics statistics = styleclip::style_statistics(*model, 600, {}, {});
  CHECK(statistics.sigma.min().item<float>() > 0);
  CHECK(model->synthesis(model->styles(model->truncate(w.narrow(0, 0, 2), 0.7, -1))).isfinite().all().item<bool>());
}

TEST_CASE("a generator without labels refuses them") {
  const auto model = generator(weights_of(read("generator")));
  CHECK(model->label_dim() == 0);
  CHECK_FALSE(model->sample_labels(3).defined());
  CHECK(error_of([&] { model->mapping(at::zeros({1, 5}), at::zeros({1, 2})); }).code() == ErrorCode::Argument);
}

TEST_CASE("a clamp: the same with and without autograd, and gradients stop where it bites") {
  const Weights weights = weights_of(read("generator"));
  nlohmann::json config = nlohmann::json::parse(kGenerator);
  config["conv_clamp"] = 0.5;
  const TemporaryFile file(tiny::archive("stylegan2", config.dump().c_str(), &weights));
  const auto clamped = Generator::load(file.path(), cpu());
  const at::Tensor s = read("generator").at("s").clone().requires_grad_(true);
  const at::Tensor image = clamped->synthesis(s);
  CHECK(at::allclose(image, clamped->synthesis(s.detach()), 1e-6, 1e-6));
  CHECK(distance(image, read("generator").at("image")) > 0.1);
  image.sum().backward();
  CHECK(s.grad().isfinite().all().item<bool>());
  CHECK(s.grad().abs().sum().item<double>() > 0);
  // A clamp that nothing reaches changes nothing; null is none.
  for (const nlohmann::json& limit : {nlohmann::json(1e5), nlohmann::json()}) {
    config["conv_clamp"] = limit;
    const TemporaryFile wide(tiny::archive("stylegan2", config.dump().c_str(), &weights));
    CHECK(distance(Generator::load(wide.path(), cpu())->synthesis(s.detach()), read("generator").at("image")) < 1e-5);
  }
}

TEST_CASE("mappers: which rows and layers move, and the defaults of the published ones") {
  const auto published = styleclip::make_blueprint("mapper", "{}");
  CHECK(published.details["rows"] == 18);
  CHECK(published.tensors.size() == 24);
  const auto model = make<Mapper>("mapper", R"({"rows": 10, "style_width": 4, "levels": ["fine", "coarse"]})");
  const at::Tensor w = at::ones({2, 10, 4}), moved = model->delta(w).abs().amax({0, 2});
  CHECK(moved.narrow(0, 4, 4).max().item<float>() == 0);
  CHECK(names("mapper", R"({"levels": ["all"], "rows": 6})").contains("mapping.4.bias"));
  CHECK(names("mapper", R"({"space": "s", "channels": [4, 4, 4, 3, 3]})").contains("mapper_3.mapping.1.weight"));
  CHECK_FALSE(names("mapper", R"({"space": "s", "channels": [4, 4, 4, 3, 3]})").contains("mapper_4.mapping.1.weight"));
  CHECK(
      names("mapper", R"({"space": "s", "channels": [4, 4], "layers": "all"})").contains("mapper_1.mapping.1.weight"));
  CHECK(error_of([&] {
          Generator::load(TemporaryFile(tiny::archive("mapper", "{}", nullptr)).path(), cpu());
        }).code() == ErrorCode::ModelKind);
  CHECK(code("mapper", R"({"space": "w"})") == ErrorCode::Range);
  CHECK(code("mapper", R"({"space": "s"})") == ErrorCode::Range);
  CHECK(code("mapper", R"({"space": "s", "channels": [4, 4, 4]})") == ErrorCode::Range);
  CHECK(code("mapper", R"({"levels": ["coarse", "all"]})") == ErrorCode::Range);
  CHECK(code("mapper", R"({"levels": ["fine", "fine"]})") == ErrorCode::Range);
  CHECK(code("mapper", R"({"levels": []})") == ErrorCode::Range);
  CHECK(code("mapper", R"({"levels": "fine"})") == ErrorCode::Argument);
  CHECK(code("mapper", R"({"rows": 8})") == ErrorCode::Range);
}

TEST_CASE("IR is IR-SE without its gates; an encoder may read pictures less high than wide") {
  const std::set<std::string> with = names("ir-se", "{}"), without = names("ir-se", R"({"reduction": 0})");
  CHECK(with.size() - without.size() == 2 * 24);
  CHECK_FALSE(without.contains("body.0.res_layer.5.fc1.weight"));
  CHECK(styleclip::make_blueprint("e4e", R"({"image_height": 192})").details["image_height"] == 192);
  CHECK_FALSE(styleclip::make_blueprint("e4e", "{}").details.contains("image_height"));
  CHECK(code("e4e", R"({"image_height": 190})") == ErrorCode::Range);
  CHECK(code("e4e", R"({"structure": "restyle"})") == ErrorCode::Range);
}

TEST_CASE("fields of generators that make no sense") {
  CHECK(code("stylegan2", R"({"conv_clamp": -1})") == ErrorCode::Range);
  CHECK(code("stylegan2", R"({"conv_clamp": "256"})") == ErrorCode::Argument);
  CHECK(code("stylegan2", R"({"label_features": 4})") == ErrorCode::Argument);
  CHECK(code("stylegan2", R"({"demodulation": "none"})") == ErrorCode::Range);
  CHECK(code("stylegan2", R"({"num_fp16_res": -1})") == ErrorCode::Range);
}
