// What CLIP's importers refuse, and that they say what it is: kin of CLIP under similar names, files of half a model,
// configurations of another network.
#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "checkpoint/checkpoint.h"
#include "importing/clip_weights.h"
#include "models_fixture.h"

using namespace styleclip::importing;
using styleclip::Error;
using styleclip::ErrorCode;
using tiny::error_of;

namespace {

std::string path_of(const std::string& file) { return fixture::path_of("../import/" + file); }

/// A folder that is gone with the object, with a model.safetensors in it.
class Folder {
 public:
  explicit Folder(const TensorMap& tensors) {
    static int number = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("styleclip-refusals-" + std::to_string(getpid()) + "-" + std::to_string(number++));
    std::filesystem::create_directories(path_);
    nlohmann::json header;
    std::string data;
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor values = tensor.to(at::kFloat).contiguous();
      const std::size_t begin = data.size();
      data.append(static_cast<const char*>(values.const_data_ptr()), values.nbytes());
      header[name] = {{"dtype", "F32"}, {"shape", values.sizes().vec()}, {"data_offsets", {begin, data.size()}}};
    }
    const std::string text = header.dump();
    std::string length(8, '\0');
    const auto size = static_cast<std::uint64_t>(text.size());
    std::memcpy(length.data(), &size, sizeof size);  // little-endian, as all platforms of styleclip
    put("model.safetensors", length + text + data);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  void put(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  std::string model() const { return (path_ / "model.safetensors").string(); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

TensorMap tensors_of(const std::string& name) {
  const Checkpoint file = Checkpoint::read(path_of(name), {});
  TensorMap owned;
  for (const auto& [key, tensor] : find_clip_weights(file).tensors) owned[key] = tensor.clone();
  return owned;
}

/// The error of the first importer of CLIP that recognises the file.
Error refusal(const Folder& folder, const ImportOptions& options = {}) {
  return error_of([&] {
    const Checkpoint file = Checkpoint::read(folder.model(), {});
    std::vector<Importer> list = openai_clip_importers();
    for (const Importer& one : hugging_face_clip_importers()) list.push_back(one);
    for (const Importer& one : list) {
      if (one.recognises(file)) return static_cast<void>(one.import(file, options));
    }
    FAIL("no importer recognises the file");
  });
}

void check_mismatch(const Error& error, const std::string& part) {
  CAPTURE(std::string(error.what()));
  CHECK(error.code() == ErrorCode::ModelMismatch);
  CHECK(std::string(error.what()).find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("kin of CLIP under OpenAI's names are refused by name") {
  const std::pair<const char*, const char*> kin[] = {
      {"visual.trunk.blocks.0.attn.qkv.weight", "timm picture tower"},
      {"text.transformer.embeddings.word_embeddings.weight", "Hugging Face text tower"},
      {"text_decoder.ln_final.weight", "CoCa"},
      {"logit_bias", "SigLIP"},
      {"visual.attn_pool.query", "attentional pooling"},
      {"visual.blocks.0.attn.q_proj.weight", "EVA-CLIP"},
      {"visual.transformer.resblocks.0.ls_1.gamma", "scaled layers"},
  };
  for (const auto& [name, what] : kin) {
    CAPTURE(name);
    TensorMap tensors = tensors_of("clip-open/open_clip_model.safetensors");
    tensors[name] = at::zeros({2});
    const Error error = refusal(Folder(tensors));
    check_mismatch(error, what);
    check_mismatch(error, std::string("'") + name + "'");
  }
}

TEST_CASE("OpenAI's names: what is unexpected, missing or of a wrong shape is named") {
  const TensorMap whole = tensors_of("clip-open/open_clip_model.safetensors");
  TensorMap tensors = whole;
  tensors["visual.extra"] = at::zeros({2});
  tensors.erase("visual.transformer.resblocks.1.ln_2.bias");
  const Error error = refusal(Folder(tensors));
  check_mismatch(error, "'visual.extra'");
  check_mismatch(error, "'visual.transformer.resblocks.1.ln_2.bias'");

  tensors = whole;
  tensors.erase("ln_final.weight");
  check_mismatch(refusal(Folder(tensors)), "lack 'ln_final.weight'");
  tensors = whole;
  tensors["visual.ln_post.weight"] = at::zeros({21});
  check_mismatch(refusal(Folder(tensors)), "'visual.ln_post.weight' has shape [21]");
  tensors = whole;
  tensors["visual.positional_embedding"] = at::zeros({7, 20});
  check_mismatch(refusal(Folder(tensors)), "7 rows, which is no square and one");
  tensors = whole;
  tensors["token_embedding.weight"] = at::zeros({40});
  check_mismatch(refusal(Folder(tensors)), "2 dimensions are wanted");
}

TEST_CASE("Hugging Face's names: kin, halves of a model and parts of an attention") {
  const TensorMap whole = tensors_of("clip-hugging-face/model.safetensors");
  const std::pair<const char*, const char*> kin[] = {
      {"logit_bias", "SigLIP"},
      {"vision_model.head.probe", "SigLIP"},
      {"text_model.roberta.embeddings.word_embeddings.weight", "AltCLIP"},
      {"text_model.embeddings.word_embeddings.weight", "BERT text tower"},
  };
  for (const auto& [name, what] : kin) {
    CAPTURE(name);
    TensorMap tensors = whole;
    tensors[name] = at::zeros({2});
    check_mismatch(refusal(Folder(tensors)), what);
  }
  TensorMap text;
  for (const auto& [name, tensor] : whole) {
    if (name.starts_with("text_")) text[name] = tensor;
  }
  check_mismatch(refusal(Folder(text)), "missing 'vision_model.embeddings.class_embedding'");
  TensorMap tensors = whole;
  const std::string key = "text_model.encoder.layers.1.self_attn.k_proj.weight";
  tensors.erase(key);
  tensors["text_model.pooler"] = at::zeros({2});
  const Error error = refusal(Folder(tensors));
  check_mismatch(error, "missing '" + key + "'");
  check_mismatch(error, "unexpected 'text_model.pooler'");
  tensors = whole;
  tensors[key] = at::zeros({3, 16});
  check_mismatch(refusal(Folder(tensors)), "differ in shape");
}

TEST_CASE("open_clip's configurations of other networks") {
  const nlohmann::json plain = nlohmann::json::parse(
      R"({"embed_dim": 10, "vision_cfg": {"image_size": 24, "layers": 2, "width": 20, "head_width": 4, "patch_size": 8},
          "text_cfg": {"context_length": 8, "vocab_size": 40, "width": 16, "heads": 4, "layers": 2}})");
  CHECK(parse_open_clip_config(plain, "c.json").config.at("activation") == "gelu");
  const auto check = [&](const char* pointer, const nlohmann::json& value, const std::string& part) {
    CAPTURE(pointer);
    nlohmann::json json = plain;
    json[nlohmann::json::json_pointer(pointer)] = value;
    check_mismatch(error_of([&] { parse_open_clip_config(json, "c.json"); }), part);
  };
  check("/vision_cfg/timm_model_name", "vit_base", "vision_cfg.timm_model_name is \"vit_base\"");
  check("/vision_cfg/no_ln_pre", true, "vision_cfg.no_ln_pre is true");
  check("/vision_cfg/pool_type", "avg", "vision_cfg.pool_type");
  check("/vision_cfg/norm_kwargs", {{"eps", 1e-6}}, "vision_cfg.norm_kwargs");
  check("/text_cfg/hf_model_name", "roberta-base", "text_cfg.hf_model_name");
  check("/text_cfg/no_causal_mask", true, "text_cfg.no_causal_mask is true");
  check("/text_cfg/proj_bias", true, "text_cfg.proj_bias is true");
  check("/multimodal_cfg", {{"width", 8}}, "CoCa");
  check("/init_logit_bias", -10, "SigLIP");
  nlohmann::json harmless = plain;
  harmless["vision_cfg"]["patch_dropout"] = 0.5;
  harmless["text_cfg"]["pool_type"] = "argmax";
  harmless["text_cfg"]["no_causal_mask"] = false;
  CHECK(parse_open_clip_config(harmless, "c.json").config == parse_open_clip_config(plain, "c.json").config);
  nlohmann::json bilinear = {{"model_cfg", plain}, {"preprocess_cfg", {{"interpolation", "bilinear"}}}};
  CHECK(parse_open_clip_config(bilinear, "c.json").notes.at(0).find("bilinear") != std::string::npos);
}

TEST_CASE("Hugging Face's configurations of other networks") {
  const nlohmann::json plain = {{"model_type", "clip"},
                                {"text_config", {{"vocab_size", 40}, {"eos_token_id", 2}}},
                                {"vision_config", {{"hidden_size", 20}}}};
  // Defaults of transformers where the file is silent.
  const nlohmann::json config = parse_hugging_face_config(plain, "c.json").config;
  CHECK(config.at("activation") == "quickgelu");
  CHECK(config.at("vision_heads") == 12);
  CHECK(config.at("text_heads") == 8);
  const auto check = [&](const char* pointer, const nlohmann::json& value, const std::string& part) {
    CAPTURE(pointer);
    nlohmann::json json = plain;
    json[nlohmann::json::json_pointer(pointer)] = value;
    check_mismatch(error_of([&] { parse_hugging_face_config(json, "c.json"); }), part);
  };
  check("/model_type", "siglip", "model_type is 'siglip'");
  check("/vision_config/hidden_act", "gelu_new", "vision_config.hidden_act is 'gelu_new'");
  check("/text_config/hidden_act", "gelu", "different activations");
  check("/text_config/layer_norm_eps", 1e-6, "layer_norm_eps");
  check("/text_config/eos_token_id", 7, "end with token 7");
  check("/vision_config/num_attention_heads", -1, "num_attention_heads is -1");
}

TEST_CASE("a configuration that belongs to another model, or is none") {
  const Folder folder(tensors_of("clip-open/open_clip_model.safetensors"));
  ImportOptions options;
  options.config_path = folder.file("c.json");
  CHECK(refusal(folder, options).code() == ErrorCode::FileNotFound);
  folder.put("c.json", "{");
  CHECK(refusal(folder, options).code() == ErrorCode::FileDamaged);
  folder.put("c.json", "{\"a\": 1}");
  CHECK(refusal(folder, options).code() == ErrorCode::FormatUnknown);
  folder.put("c.json", std::string((1U << 20U) + 1, ' '));
  CHECK(refusal(folder, options).code() == ErrorCode::FileDamaged);
  folder.put("open_clip_config.json", R"({"embed_dim": 512, "vision_cfg": {}, "text_cfg": {}})");
  check_mismatch(refusal(folder), "open_clip_config.json gives embedding 512; the weights have 10");
}
