// Identity networks, encoders and mappers out of the files that people have, against an independent evaluation in float64.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "importing/ir_se_sizes.h"
#include "importing/mean_of_w.h"
#include "importing_fixture.h"
#include "models/spec.h"

using namespace import_fixture;
using namespace styleclip::importing;
using styleclip::ErrorCode;
using styleclip::Mapper;

namespace {

// The embeddings of the fixtures are of the network alone, without the crop of the face.
double embedding_error(Imported imported, const std::string& name) {
  imported.config["preprocessing"] = "resize";
  const Weights wanted = expected(name);
  return distance(load<styleclip::Identity>(imported)->embed(wanted.at("images")), wanted.at("embedding"));
}

std::shared_ptr<Mapper> check_mapper(const std::string& name, const char* space) {
  CAPTURE(name);
  const Weights wanted = expected(name);
  const auto mapper = load<Mapper>(import(mapper_importers(), name + ".pt"));
  CHECK(mapper->space() == space);
  const at::Tensor latents = wanted.at(space), delta = wanted.at("delta");
  MESSAGE(name << ": " << distance(mapper->delta(latents), delta));
  CHECK(distance(mapper->delta(latents), delta) < kParity);
  CHECK(distance(mapper->apply(latents) - latents, 0.1 * delta) < kParity);
  CHECK(distance(mapper->apply(latents, -2) - latents, -0.2 * delta) < kParity);
  return mapper;
}

}  // namespace

TEST_CASE("identity: IR-SE in the legacy container, without counters") {
  const Imported imported = import(identity_importers(), "ir-se.pth");
  CHECK(imported.architecture == "ir-se");
  CHECK(imported.config["blocks"] == nlohmann::json({1, 2, 1, 1}));
  CHECK(imported.config["channels"] == nlohmann::json({4, 8, 12, 16}));
  CHECK(imported.config["reduction"] == 2);
  CHECK(imported.config["image_size"] == 32);
  CHECK(embedding_error(imported, "ir-se") < kParity);
}

TEST_CASE("identity: IR without squeeze and excitation, under a prefix, the last normalisation without weights") {
  const Imported imported = import(identity_importers(), "ir.pth");
  CHECK(imported.config["reduction"] == 0);
  CHECK(imported.config["blocks"] == nlohmann::json({2, 1, 1, 2}));
  CHECK(imported.weights.at("body.0.res_layer.0.num_batches_tracked").item<std::int64_t>() == 77);
  CHECK(imported.ignored == std::vector<std::string>{"epoch"});
  CHECK(embedding_error(imported, "ir") < kParity);
}

TEST_CASE("identity: the depths that names tell, with and without squeeze and excitation") {
  const std::map<std::string, std::vector<std::int64_t>> depths = {
      {"50", {3, 4, 14, 3}}, {"101", {3, 13, 30, 3}}, {"152", {3, 8, 36, 3}}};
  for (const auto& [depth, blocks] : depths) {
    for (const int reduction : {0, 16}) {
      CAPTURE(depth);
      CAPTURE(reduction);
      const nlohmann::json sizes = {{"blocks", blocks}, {"reduction", reduction}};
      Weights tensors;
      for (const auto& spec : styleclip::make_blueprint("ir-se", sizes.dump()).tensors) {
        tensors[spec.name] = at::zeros({}).expand(spec.shape);
      }
      const nlohmann::json told = trunk_sizes(tensors);
      CHECK(told["blocks"] == sizes["blocks"]);
      CHECK(told["reduction"] == reduction);
      CHECK(told["channels"] == nlohmann::json({64, 128, 256, 512}));
    }
  }
}

TEST_CASE("encoders: e4e and pSp have the same tensors and give other codes") {
  for (const std::string name : {"e4e", "psp"}) {
    CAPTURE(name);
    Imported imported = import(encoder_importers(), name + ".pt");
    CHECK(imported.config["structure"] == name);
    CHECK(imported.config["rows"] == 8);
    CHECK(imported.config["image_size"] == 32);
    const Weights wanted = expected(name);
    const at::Tensor images = wanted.at("images"), codes = wanted.at("w_plus");
    const double apart = distance(load<styleclip::Encoder>(imported)->encode(images), codes);
    MESSAGE(name << ": " << apart);
    CHECK(apart < kParity);
    imported.config["structure"] = name == "e4e" ? "psp" : "e4e";
    CHECK(distance(load<styleclip::Encoder>(imported)->encode(images), codes) > 0.01);
  }
}

TEST_CASE("encoders: cars are less high than wide; a missing average comes from the decoder") {
  const Imported imported = import(encoder_importers(), "e4e-cars.pt");
  CHECK(imported.config["image_height"] == 24);
  CHECK(imported.config["image_size"] == 32);
  CHECK(imported.notes.size() == 1);
  const Weights wanted = expected("e4e-cars");
  const auto encoder = load<styleclip::Encoder>(imported);
  CHECK(encoder->image_height() == 24);
  const at::Tensor codes = encoder->encode(wanted.at("images"));
  const at::Tensor average = imported.weights.at("latent_avg");
  CHECK(distance(codes - average, wanted.at("offsets")) < kParity);
  // Two means over samples of one distribution, 4096 and 65536: w has a standard deviation below 1.
  CHECK((average - wanted.at("mean")).abs().max().item<double>() < 5 / 64.0);
  CHECK(wanted.at("mean").abs().max().item<double>() > 10 / 64.0);
  // Other sizes are pooled to the network's.
  CHECK(encoder->encode(at::ones({1, 3, 48, 64})).sizes() == at::IntArrayRef({1, 2, 5}));
}

TEST_CASE("encoders: what cannot be imported is named") {
  const styleclip::Error restyle = refusal(encoder_importers(), "restyle.pt");
  CHECK(restyle.code() == ErrorCode::ModelMismatch);
  CHECK(says(restyle, "ReStyle"));
  CHECK_FALSE(restyle.remedy().empty());
  CHECK(says(refusal(encoder_importers(), "encoder-w.pt"), "BackboneEncoderUsingLastLayerIntoW"));
  CHECK(says(refusal(encoder_importers(), "encoder-unsaid.pt"), "encoder_type"));
}

TEST_CASE("encoders: an average is computed through layers up to 4096 wide, and a wider one is refused by its number") {
  const auto refused = [](const Weights& decoder) { return fixture::error_of([&] { mean_of_w(decoder); }); };
  const at::Tensor one = at::ones({1, 1});
  // Both are views of one number: to refuse them must not cost what they stand for.
  for (const std::int64_t width : {std::int64_t{4097}, std::int64_t{1} << 40}) {
    const styleclip::Error wide =
        refused({{"style.1.weight", one.expand({2, width})}, {"style.1.bias", at::zeros({2})}});
    CHECK(wide.code() == ErrorCode::ModelMismatch);
    CHECK(says(wide, std::to_string(width) + " wide"));
    const styleclip::Error high =
        refused({{"style.1.weight", one.expand({width, 2})}, {"style.1.bias", at::zeros({1}).expand({width})}});
    CHECK(high.code() == ErrorCode::ModelMismatch);
    CHECK(says(high, std::to_string(width) + " wide"));
  }
  const at::Tensor mean = mean_of_w({{"style.1.weight", one.expand({4096, 1})}, {"style.1.bias", at::zeros({4096})}});
  CHECK(mean.sizes() == at::IntArrayRef({4096}));
  CHECK(at::isfinite(mean).all().item<bool>());
}

TEST_CASE("mappers: three levels, a missing level, one network for all rows") {
  const auto all = check_mapper("mapper", "w_plus");
  CHECK(all->rows() == 10);
  CHECK(all->width() == 6);
  const auto coarse = check_mapper("mapper-no-fine", "w_plus");
  const at::Tensor latents = expected("mapper-no-fine").at("w_plus");
  CHECK(coarse->delta(latents).narrow(1, 8, 2).abs().max().item<double>() == 0);
  CHECK(check_mapper("mapper-single", "w_plus")->rows() == 6);
  CHECK(fixture::error_of([&] { all->delta(latents.narrow(1, 0, 9)); }).code() == ErrorCode::Shape);
  CHECK(fixture::error_of([&] { all->apply(latents, std::nan("")); }).code() == ErrorCode::Range);
}

TEST_CASE("mappers of S: without and with toRGB, in the layout of the decoder beside them") {
  for (const std::string name : {"mapper-s", "mapper-s-full"}) {
    const auto mapper = check_mapper(name, "s");
    const auto decoder = load<styleclip::Generator>(import(rosinality_importers(), name + ".pt"));
    CHECK(mapper->width() == decoder->layout().total());
    const at::Tensor delta = mapper->delta(expected(name).at("s"));
    const styleclip::StyleLayer& rgb = decoder->layout().layers.at(4);
    REQUIRE(rgb.to_rgb);
    const bool moved = delta.narrow(1, rgb.offset, rgb.channels).abs().max().item<double>() > 0;
    CHECK(moved == (name == "mapper-s-full"));
  }
}

TEST_CASE("a mapper of the published sizes: its tensors by number, name and shape") {
  const Imported small = import(mapper_importers(), "mapper.pt");
  CHECK(small.weights.size() == 3 * 4 * 2);
  Imported published = small;
  published.config = nlohmann::json::object();  // 18 rows of 512
  published.weights.clear();
  for (const std::string level : {"course", "medium", "fine"}) {
    for (const char* layer : {"1", "2", "3", "4"}) {
      const std::string name = level + "_mapping.mapping." + layer;
      published.weights[name + ".weight"] = at::ones({512, 512});
      published.weights[name + ".bias"] = at::zeros({512});
    }
  }
  const auto mapper = load<Mapper>(published);
  CHECK(mapper->rows() == 18);
  CHECK(mapper->width() == 512);
  CHECK(mapper->memory_bytes() == 3 * 4 * (512 * 512 + 512) * 4);  // the 12.6 MB of reference notes A.2
}
