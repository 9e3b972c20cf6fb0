// Archives: what is written comes back, and what is damaged, of another kind, newer, or not ours is refused by name.
#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/jit/api/module.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "models/archive.h"
#include "models/build.h"
#include "models/spec.h"
#include "models_fixture.h"
#include "runtime/sha256.h"

using namespace fixture;
using styleclip::ErrorCode;

namespace {

styleclip::MakeRequest request_of(const char* kind, const char* config, const Weights& weights) {
  styleclip::MakeRequest request;
  request.kind = kind;
  request.config_json = config;
  request.weights = &weights;
  return request;
}

// A generator archive whose description was changed by hand.
template <typename Change>
std::string with_description(Change change) {
  const Weights weights = weights_of(read("generator"));
  const styleclip::Blueprint blueprint = styleclip::make_blueprint("stylegan2", kGenerator);
  styleclip::MakeRequest request = request_of("stylegan2", kGenerator, weights);
  auto json = nlohmann::json::parse(styleclip::make_archive(request, {}).description_json);
  change(json);
  torch::jit::ExtraFilesMap extra = {{"styleclip.json", json.dump()}};
  std::ostringstream out;
  styleclip::build_module(blueprint, styleclip::take_weights(blueprint, weights, 0, {})).save(out, extra);
  return out.str();
}

ErrorCode load_code(const std::string& bytes, bool trust = false) {
  const TemporaryFile file(bytes);
  return error_of([&] { styleclip::Generator::load(file.path(), cpu("float32", trust)); }).code();
}

std::string module_bytes(const std::string& source, const torch::jit::ExtraFilesMap& extra = {}) {
  torch::jit::Module module("Foreign");
  module.register_buffer("image_size", at::full({}, 8, at::kLong));
  module.register_attribute("z_dim", c10::IntType::get(), std::int64_t{3});
  module.register_attribute("w_dim", c10::IntType::get(), std::int64_t{4});
  module.register_attribute("rows", c10::IntType::get(), std::int64_t{2});
  module.define(source);
  std::ostringstream out;
  module.save(out, extra);
  return out.str();
}

const char* kForeign = R"(
def mapping(self, z: Tensor) -> Tensor:
    return torch.cat([z, z[:, :1]], 1)
def styles(self, w_plus: Tensor) -> List[Tensor]:
    return [w_plus[:, 0] * 2.0, w_plus[:, 1, :3] + 1.0]
def synthesis(self, styles: List[Tensor]) -> Tensor:
    return (styles[0].sum(1) + styles[1].sum(1)).view([-1, 1, 1, 1]).expand([-1, 3, 8, 8])
)";

}  // namespace

TEST_CASE("what was written comes back: every tensor, name and number") {
  const Weights weights = weights_of(read("generator"));
  styleclip::MakeRequest request = request_of("stylegan2", kGenerator, weights);
  request.licence = "test";
  request.source_sha256 = "abc";
  const styleclip::MadeArchive made = styleclip::make_archive(request, {});
  const TemporaryFile file(made.bytes);
  const auto model = styleclip::Generator::load(file.path(), cpu());
  const Weights back = model->tensors();
  CHECK(back.size() == weights.size());
  for (const auto& [name, tensor] : weights) {
    CAPTURE(name);
    REQUIRE(back.contains(name));
    CHECK(at::equal(back.at(name), tensor));
    CHECK_FALSE(back.at(name).requires_grad());
  }
  CHECK(model->sha256() == styleclip::sha256_hex(made.bytes));
  CHECK(model->description().bytes == static_cast<std::int64_t>(made.bytes.size()));
  const auto json = nlohmann::json::parse(model->description().json);
  CHECK(json["kind"] == "generator");
  CHECK(json["licence"] == "test");
  CHECK(json["source"]["sha256"] == "abc");
  CHECK(json["parameters"] == made.parameters);
  CHECK(json["layers"].size() == 8);
  CHECK(json["layers"][2]["name"] == "b8.conv0");
}

TEST_CASE("an archive of every released format still loads and gives its pictures") {
  // test/data/models/generator-1.0.pt: the weights of generator.safetensors, written by version 0.1.0.
  const Weights vectors = read("generator");
  const auto model = styleclip::Generator::load(path_of("generator-1.0.pt"), cpu());
  CHECK(distance(model->synthesis(vectors.at("s")), vectors.at("image")) < rounding_bound(weights_of(vectors)));
}

TEST_CASE("make is a function of its request; seeds differ") {
  const std::string one = tiny::archive("stylegan2", kGenerator, nullptr, 3);
  const auto images = [](const std::string& bytes) {
    const TemporaryFile file(bytes);
    const auto model = styleclip::Generator::load(file.path(), cpu());
    return model->synthesis(model->styles(model->truncate(model->mapping(model->sample_z(2, 1)), 1, -1)));
  };
  CHECK(at::equal(images(one), images(tiny::archive("stylegan2", kGenerator, nullptr, 3))));
  CHECK_FALSE(at::equal(images(one), images(tiny::archive("stylegan2", kGenerator, nullptr, 4))));
}

TEST_CASE("half-precision storage: smaller, close, loadable in any precision") {
  const Weights vectors = read("clip-vit"), weights = weights_of(vectors);
  styleclip::MakeRequest request = request_of("clip", kVit, weights);
  const std::size_t single = styleclip::make_archive(request, {}).bytes.size();
  request.storage_dtype = "float16";
  request.tokenizer_json = R"({"model": {}})";
  const TemporaryFile file(styleclip::make_archive(request, {}).bytes);
  CHECK(styleclip::read_description(file.path()).tokenizer == request.tokenizer_json);
  CHECK(static_cast<std::size_t>(styleclip::read_description(file.path()).bytes) < single);
  for (const char* dtype : {"float32", "float16", "bfloat16"}) {
    const auto model = styleclip::Clip::load(file.path(), cpu(dtype));
    CHECK(distance(model->encode_image(vectors.at("input")), vectors.at("image")) < 0.06);
  }
}

TEST_CASE("every architecture's own code passes the operator check, and needs no trust") {
  for (const auto& [kind, config] :
       {std::pair("stylegan2", kGenerator), std::pair("clip", kVit), std::pair("clip", kResnet),
        std::pair("ir-se", kIdentity), std::pair("e4e", kEncoder)}) {
    CAPTURE(kind);
    const TemporaryFile file(tiny::archive(kind, config, nullptr));
    CHECK(styleclip::foreign_operator(file.path()) == "");
    CHECK(styleclip::load_module(file.path(), cpu())->memory_bytes() > 0);
  }
}

TEST_CASE("damaged, truncated, unknown and missing files") {
  const std::string good = tiny::archive("stylegan2", kGenerator, nullptr);
  CHECK(load_code("") == ErrorCode::FileDamaged);
  CHECK(load_code("not a model at all") == ErrorCode::FormatUnknown);
  CHECK(load_code(good.substr(0, good.size() / 2)) == ErrorCode::FileDamaged);
  CHECK(load_code(good.substr(0, good.size() - 1)) == ErrorCode::FileDamaged);
  CHECK(load_code(good.substr(0, 10)) == ErrorCode::FileDamaged);
  // A flipped bit anywhere in the weights is seen (libtorch itself does not look).
  std::int64_t refused = 0;
  for (std::size_t at = good.size() / 4; at < good.size() / 2; at += good.size() / 40) {
    std::string flipped = good;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    const TemporaryFile file(flipped);
    try {
      styleclip::Generator::load(file.path(), cpu());
    } catch (const styleclip::Error& error) {
      CHECK(error.code() == ErrorCode::FileDamaged);
      ++refused;
    }
  }
  CHECK(refused >= 8);  // the others fell into the padding between entries
  CHECK(error_of([] { styleclip::read_description("/nowhere/model.pt"); }).code() == ErrorCode::FileNotFound);
  CHECK(error_of([] { styleclip::read_description("/"); }).code() == ErrorCode::FileNotFound);
}

TEST_CASE("kind, version, licence, libtorch") {
  CHECK(load_code(tiny::archive("clip", kVit, nullptr)) == ErrorCode::ModelKind);
  CHECK(load_code(with_description([](auto& json) { json["format"]["minor"] = 1; })) == ErrorCode::FormatVersion);
  CHECK(load_code(with_description([](auto& json) { json["format"]["major"] = 2; })) == ErrorCode::FormatVersion);
  CHECK(load_code(with_description([](auto& json) { json.erase("licence"); })) == ErrorCode::FileDamaged);
  CHECK(load_code(with_description([](auto& json) { json.erase("format"); })) == ErrorCode::FileDamaged);
  CHECK(load_code(with_description([](auto& json) { json["min_torch"] = "9.0"; })) == ErrorCode::LibtorchVersion);
  CHECK(load_code(with_description([](auto& json) { json["layers"] = 3; })) == ErrorCode::FileDamaged);
  const TemporaryFile newer(with_description([](auto& json) {
    json["format"]["major"] = 7;
    json["min_styleclip"] = "4.5.6";
  }));
  CHECK(error_of([&] { styleclip::read_description(newer.path()); }).remedy().find("4.5.6") != std::string::npos);
}

TEST_CASE("foreign modules: not without trust; with it a generator by its methods") {
  const std::string bytes = module_bytes(kForeign);
  CHECK(load_code(bytes) == ErrorCode::Trust);
  const TemporaryFile file(bytes);
  CHECK(styleclip::read_description(file.path()).kind == "module");
  const auto model = styleclip::Generator::load(file.path(), cpu("float32", true));
  CHECK(model->image_size() == 8);
  CHECK(model->z_dim() == 3);
  CHECK(model->layout().rows == 2);
  CHECK(model->layout().total() == 7);
  const at::Tensor w = model->mapping(at::ones({2, 3}));
  const at::Tensor s = model->styles(model->truncate(w, 1, -1));
  CHECK(at::equal(s[0], at::tensor({2., 2., 2., 2., 2., 2., 2.}).to(at::kFloat)));
  CHECK(model->synthesis(s).sizes() == at::IntArrayRef({2, 3, 8, 8}));
  CHECK(error_of([&] { model->synthesis(s, styleclip::NoiseMode::None); }).code() == ErrorCode::Argument);
  CHECK(load_code(module_bytes("def mapping(self, z: Tensor) -> Tensor:\n    return z\n"), true) ==
        ErrorCode::ModelMismatch);
}

TEST_CASE("an archive that only claims to be ours is foreign by its operators") {
  const TemporaryFile good(with_description([](auto&) {}));  // to take a sound description from
  const torch::jit::ExtraFilesMap extra = {{"styleclip.json", styleclip::read_description(good.path()).json}};
  const std::string source =
      std::string(kForeign) + "def read(self, path: str) -> Tensor:\n    return torch.from_file(path, False, 1)\n";
  const TemporaryFile file(module_bytes(source, extra));
  const styleclip::Error error = error_of([&] { styleclip::load_module(file.path(), cpu()); });
  CHECK(error.code() == ErrorCode::Trust);
  CHECK(std::string(error.what()).find("from_file") != std::string::npos);
  CHECK_NOTHROW(styleclip::load_module(file.path(), cpu("float32", true)));
}

TEST_CASE("run_method: any method, lists, wrong names and inputs") {
  const Weights vectors = read("generator");
  const auto model = generator(weights_of(vectors));
  const auto w = model->run_method("mapping", {vectors.at("z")});
  CHECK(w.size() == 1);
  const auto styles = model->run_method("styles", {model->truncate(w[0], 1, -1)});
  CHECK(styles.size() == 8);
  CHECK(distance(model->run_method("synthesis", styles)[0], vectors.at("image")) < 1e-4);
  CHECK(error_of([&] { model->run_method("nothing", {}); }).code() == ErrorCode::Argument);
  CHECK(error_of([&] { model->run_method("mapping", {}); }).code() == ErrorCode::Argument);
  CHECK(error_of([&] { model->run_method("mapping", {at::ones({2, 99})}); }).code() == ErrorCode::Argument);
}

TEST_CASE("wrong shapes, ranges and devices") {
  const auto model = generator(weights_of(read("generator")));
  CHECK(error_of([&] { model->mapping(at::ones({2, 4})); }).code() == ErrorCode::Shape);
  CHECK(error_of([&] { model->mapping(at::ones({0, 5})); }).code() == ErrorCode::Shape);
  CHECK(error_of([&] { model->styles(at::ones({6, 7})); }).code() == ErrorCode::Shape);
  CHECK(error_of([&] { model->synthesis(at::ones({1, 3})); }).code() == ErrorCode::Shape);
  CHECK(error_of([&] { model->sample_z(0, 1); }).code() == ErrorCode::Range);
  CHECK(error_of([&] { model->truncate(at::ones({1, 7}), std::nan(""), -1); }).code() == ErrorCode::Range);
  const TemporaryFile file(tiny::archive("clip", kVit, nullptr));
  const auto clip = styleclip::Clip::load(file.path(), cpu());
  CHECK(error_of([&] { clip->encode_text(at::full({1, 8}, 30, at::kLong)); }).code() == ErrorCode::Range);
  CHECK(error_of([&] { clip->encode_text(at::ones({1, 8})); }).code() == ErrorCode::Shape);
  CHECK(error_of([&] { clip->encode_text(at::ones({1, 7}, at::kLong)); }).code() == ErrorCode::Shape);
  CHECK(error_of([&] { clip->encode_image(at::ones({1, 3, 9, 9})); }).code() == ErrorCode::Shape);
  CHECK(error_of([&] { styleclip::Clip::load(file.path(), {.device = "cuda:99"}); }).code() == ErrorCode::Device);
  CHECK(error_of([&] { styleclip::Clip::load(file.path(), {.device = "gpu"}); }).code() == ErrorCode::Argument);
  CHECK(error_of([&] { styleclip::Clip::load(file.path(), {.device = "cpu", .dtype = "int8"}); }).code() ==
        ErrorCode::Argument);
}
