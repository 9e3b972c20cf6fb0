// CLIP checkpoints as openai/CLIP, open_clip and transformers write them, imported, and the embeddings of the archives against
// those libraries' own (tools/fixtures/make_clip_import_fixtures.py).
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "importing/clip_weights.h"
#include "models/spec.h"
#include "models_fixture.h"

using namespace styleclip::importing;
using styleclip::Error;
using styleclip::ErrorCode;
using tiny::error_of;
using tiny::TemporaryFile;
using tiny::Weights;

namespace {

std::string path_of(const std::string& file) { return fixture::path_of("../import/" + file); }

std::vector<Importer> clip_importers() {
  std::vector<Importer> list = openai_clip_importers();
  for (const Importer& one : hugging_face_clip_importers()) list.push_back(one);
  return list;
}

Imported import(const Checkpoint& file, const ImportOptions& options = {}) {
  for (const Importer& one : clip_importers()) {
    if (one.recognises(file)) return one.import(file, options);
  }
  FAIL("no importer recognises " << file.path());
  return {};
}

Imported import(const std::string& name, const ImportOptions& options = {}) {
  return import(Checkpoint::read(path_of(name), {}), options);
}

/// Distances of the picture and text embeddings of the imported model from the library's.
std::pair<double, double> distances(const Imported& imported, const std::string& expected) {
  const TemporaryFile archive(
      tiny::archive(imported.architecture.c_str(), imported.config.dump().c_str(), &imported.weights));
  const auto model = styleclip::Clip::load(archive.path(), fixture::cpu());
  const Weights vectors = styleclip::read_safetensors(path_of(expected));
  return {fixture::distance(model->encode_image(vectors.at("input")), vectors.at("image")),
          fixture::distance(model->encode_text(vectors.at("tokens")), vectors.at("text"))};
}

void check_embeddings(const Imported& imported, const std::string& expected) {
  const auto [image, text] = distances(imported, expected);
  MESSAGE(imported.format << ", " << expected << ": image " << image << ", text " << text);
  CHECK(image < 1e-4);
  CHECK(text < 1e-4);
}

bool notes_name(const Imported& imported, const std::string& part) {
  return std::any_of(imported.notes.begin(), imported.notes.end(),
                     [&](const std::string& note) { return note.find(part) != std::string::npos; });
}

ImportOptions with_config(const std::string& name) {
  ImportOptions options;
  options.config_path = path_of(name);
  return options;
}

/// A file in a folder of its own, so that nothing lies beside it.
class Alone {
 public:
  explicit Alone(const std::string& name) {
    static int number = 0;
    folder_ = std::filesystem::temp_directory_path() /
              ("styleclip-clip-" + std::to_string(getpid()) + "-" + std::to_string(number++));
    std::filesystem::create_directories(folder_);
    file_ = folder_ / std::filesystem::path(name).filename();
    std::filesystem::copy_file(path_of(name), file_);
  }
  ~Alone() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;
  std::string path() const { return file_.string(); }
  void put(const std::string& name, const std::string& text) const { std::ofstream(folder_ / name) << text; }

 private:
  std::filesystem::path folder_, file_;
};

}  // namespace

TEST_CASE("OpenAI's TorchScript archive: half and single, taken as they are") {
  const Imported imported = import("clip-openai-vit.pt");
  CHECK(imported.format == "OpenAI CLIP (TorchScript)");
  CHECK(imported.config.at("activation") == "quickgelu");
  CHECK(imported.config.at("vision_heads") == 1);
  CHECK(imported.config.at("image_size") == 24);
  CHECK(imported.notes.empty());
  CHECK(imported.ignored == std::vector<std::string>{"input_resolution", "context_length", "vocab_size"});
  CHECK((imported.weights.at("visual.proj").scalar_type() == at::kHalf));
  CHECK((imported.weights.at("token_embedding.weight").scalar_type() == at::kFloat));
  check_embeddings(imported, "clip-openai-vit.safetensors");
}

TEST_CASE("OpenAI's state dicts: old form, wrapped and from several devices, with a ResNet") {
  for (const std::string name : {"clip-openai-legacy.pt", "clip-openai-state.pt"}) {
    CAPTURE(name);
    const Imported imported = import(name);
    CHECK(imported.format == "OpenAI CLIP (state dict)");
    CHECK(notes_name(imported, "QuickGELU was assumed"));
    check_embeddings(imported, "clip-openai-vit.safetensors");
  }
  const Imported resnet = import("clip-openai-resnet.pt");
  CHECK(resnet.config.at("vision") == "resnet");
  CHECK(resnet.config.at("vision_layers") == nlohmann::json({1, 2, 1, 1}));
  check_embeddings(resnet, "clip-openai-resnet.safetensors");
}

TEST_CASE("open_clip with its configuration beside it") {
  const Imported imported = import("clip-open/open_clip_model.safetensors");
  CHECK(imported.format == "open_clip");
  CHECK(imported.notes.empty());
  CHECK(imported.config.at("activation") == "gelu");
  CHECK(imported.config.at("vision_heads") == 5);
  CHECK(imported.config.at("text_heads") == 4);
  CHECK(imported.config.at("vision_mlp") == 60);
  CHECK(imported.config.at("mean") == nlohmann::json({0.5, 0.4, 0.3}));
  check_embeddings(imported, "clip-open/expected.safetensors");
}

TEST_CASE("open_clip's training checkpoint with the text tower apart, its configuration named") {
  const Imported imported = import("clip-open-custom/epoch_1.pt", with_config("clip-open-custom/config.json"));
  CHECK(imported.format == "open_clip");
  CHECK(imported.config.at("activation") == "quickgelu");
  CHECK(imported.ignored == std::vector<std::string>{"epoch", "name", "scaler"});
  check_embeddings(imported, "clip-open-custom/expected.safetensors");
}

TEST_CASE("Hugging Face's CLIPModel in both containers, half and with GELU") {
  for (const std::string name : {"model.safetensors", "pytorch_model.bin"}) {
    CAPTURE(name);
    const Imported imported = import("clip-hugging-face/" + name);
    CHECK(imported.format == "Hugging Face CLIPModel");
    CHECK(imported.notes.empty());
    CHECK(imported.config.at("activation") == "gelu");
    CHECK(imported.config.at("vision_heads") == 5);
    CHECK(imported.config.at("std") == nlohmann::json({0.2, 0.25, 0.3}));
    CHECK((imported.weights.at("visual.transformer.resblocks.1.attn.in_proj_weight").scalar_type() == at::kHalf));
    check_embeddings(imported, "clip-hugging-face/expected.safetensors");
  }
}

TEST_CASE("an activation that no file tells is assumed and said; the option decides") {
  const Alone file("clip-open/open_clip_model.safetensors");
  const Imported assumed = import(Checkpoint::read(file.path(), {}));
  CHECK(assumed.config.at("activation") == "gelu");
  CHECK(notes_name(assumed, "GELU was assumed, as in most of open_clip's models"));

  ImportOptions options = with_config("clip-open/open_clip_config.json");
  options.activation = "quickgelu";
  const Imported chosen = import(Checkpoint::read(file.path(), {}), options);
  CHECK(chosen.notes.empty());
  // The wrong activation is another network.
  const auto [image, text] = distances(chosen, "clip-open/expected.safetensors");
  CHECK(image > 1e-3);
  CHECK(text > 1e-3);

  options.activation = "relu";
  CHECK(error_of([&] { import(Checkpoint::read(file.path(), {}), options); }).code() == ErrorCode::Argument);
}

TEST_CASE("the nine released models: every size follows from shapes") {
  const std::string presets[] = {"ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px", "RN50",
                                 "RN101",    "RN50x4",   "RN50x16",  "RN50x64"};
  for (const std::string& preset : presets) {
    CAPTURE(preset);
    const styleclip::Blueprint blueprint = styleclip::clip_blueprint({{"preset", preset}});
    TensorMap weights;
    for (const styleclip::TensorSpec& spec : blueprint.tensors) weights[spec.name] = at::zeros({}).expand(spec.shape);
    std::vector<std::string> notes;
    const nlohmann::json config = clip_config(weights, {}, {}, "quickgelu", notes);
    CHECK(nlohmann::json(styleclip::clip_blueprint(config).config) == nlohmann::json(blueprint.config));
  }
}

TEST_CASE("towers wider than OpenAI's need a configuration for their heads") {
  const nlohmann::json wide = {{"vision", "vit"}, {"vision_width", 1280}, {"vision_layers", {1}}, {"vision_heads", 16}};
  const styleclip::Blueprint blueprint = styleclip::clip_blueprint(wide);
  TensorMap weights;
  for (const styleclip::TensorSpec& spec : blueprint.tensors) weights[spec.name] = at::zeros({}).expand(spec.shape);
  std::vector<std::string> notes;
  const Error error = error_of([&] { clip_config(weights, {}, {}, "gelu", notes); });
  CHECK(error.code() == ErrorCode::ModelMismatch);
  CHECK(std::string(error.what()).find("how many heads its picture tower of width 1280") != std::string::npos);
  const ClipDescription described =
      parse_open_clip_config({{"vision_cfg", {{"width", 1280}, {"head_width", 80}, {"layers", 1}, {"patch_size", 32}}},
                              {"text_cfg", {{"heads", 8}}}},
                             "config.json");
  CHECK(clip_config(weights, described, {}, "gelu", notes).at("vision_heads") == 16);
}
