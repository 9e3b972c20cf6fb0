// Weights under the field's names: the number of tensors that the published files have, exact checks, random values.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "models/spec.h"
#include "models_fixture.h"

using namespace fixture;
using styleclip::ErrorCode;

namespace {

std::map<std::string, std::vector<std::int64_t>> shapes(const char* architecture, const char* config) {
  std::map<std::string, std::vector<std::int64_t>> found;
  for (const auto& spec : styleclip::make_blueprint(architecture, config).tensors) found[spec.name] = spec.shape;
  return found;
}

styleclip::Error make_error(const char* kind, const char* config, const Weights& weights) {
  return error_of([&] { tiny::archive(kind, config, &weights); });
}

}  // namespace

TEST_CASE("the published models' tensors, by number, name and shape") {
  using Shape = std::vector<std::int64_t>;
  const auto vit = shapes("clip", R"({"preset": "ViT-B/32"})");
  CHECK(vit.size() == 302);  // reference notes B.2
  CHECK(vit.at("visual.conv1.weight") == Shape{768, 3, 32, 32});
  CHECK(vit.at("visual.positional_embedding") == Shape{50, 768});
  CHECK(vit.at("transformer.resblocks.11.attn.in_proj_weight") == Shape{1536, 512});
  const auto resnet = shapes("clip", R"({"preset": "RN50"})");
  CHECK(resnet.at("visual.attnpool.positional_embedding") == Shape{50, 2048});
  CHECK(resnet.at("visual.layer1.0.downsample.0.weight") == Shape{256, 64, 1, 1});
  CHECK(resnet.at("visual.attnpool.c_proj.weight") == Shape{1024, 2048});
  const auto face = shapes("ir-se", "{}");
  CHECK(face.size() == 397);  // reference notes H.5
  CHECK(face.at("output_layer.3.weight") == Shape{512, 512 * 7 * 7});
  CHECK(face.at("body.3.shortcut_layer.0.weight") == Shape{128, 64, 1, 1});
  CHECK_FALSE(face.contains("body.0.shortcut_layer.0.weight"));
  const auto encoder = shapes("e4e", "{}");
  CHECK(encoder.size() == 621 + 1);  // and latent_avg, which the files keep beside the encoder
  CHECK(encoder.at("styles.17.convs.10.weight") == Shape{512, 512, 3, 3});
  CHECK_FALSE(encoder.contains("styles.0.convs.8.weight"));
  const auto generator = shapes("stylegan2", "{}");
  CHECK(generator.at("convs.15.conv.weight") == Shape{1, 32, 32, 3, 3});
  CHECK(generator.at("to_rgbs.7.conv.modulation.weight") == Shape{32, 512});
  CHECK(generator.at("noises.noise_16") == Shape{1, 1, 1024, 1024});
}

TEST_CASE("StyleSpace at 1024 pixels: 26 tensors, 6048 and 3040 channels") {
  const auto details = styleclip::make_blueprint("stylegan2", "{}").details;
  std::int64_t conv = 0, rgb = 0;
  for (const auto& layer : details["layers"]) {
    (layer["type"] == "torgb" ? rgb : conv) += layer["channels"].get<std::int64_t>();
  }
  CHECK(details["layers"].size() == 26);
  CHECK(conv == 6048);
  CHECK(rgb == 3040);
  CHECK(details["rows"] == 18);
}

TEST_CASE("names and shapes are checked exactly, and named") {
  const Weights good = weights_of(read("generator"));
  Weights weights = good;
  weights.erase("conv1.conv.weight");
  weights["conv1.conv.wieght"] = good.at("conv1.conv.weight");
  const styleclip::Error error = make_error("stylegan2", kGenerator, weights);
  CHECK(error.code() == ErrorCode::ModelMismatch);
  CHECK(std::string(error.what()).find("'conv1.conv.wieght'") != std::string::npos);
  CHECK(std::string(error.what()).find("missing 'conv1.conv.weight'") != std::string::npos);

  weights = good;
  weights["conv1.conv.weight"] = at::zeros({1, 6, 6, 1, 1});
  CHECK(std::string(make_error("stylegan2", kGenerator, weights).what()).find("[1, 6, 6, 1, 1], not [1, 6, 6, 3, 3]") !=
        std::string::npos);
  weights = good;
  weights["to_rgb1.bias"] = at::full({1, 3, 1, 1}, std::nan(""));
  CHECK(make_error("stylegan2", kGenerator, weights).code() == ErrorCode::NotFinite);
  weights = good;
  weights["to_rgb1.bias"] = at::ones({1, 3, 1, 1}, at::kLong);
  CHECK(make_error("stylegan2", kGenerator, weights).code() == ErrorCode::ModelMismatch);

  // What older files lack may be missing, and OpenAI's three extra tensors may be there.
  weights = good;
  for (const char* name : {"latent_avg", "noises.noise_0", "convs.0.conv.blur.kernel"}) weights.erase(name);
  CHECK_NOTHROW(tiny::archive("stylegan2", kGenerator, &weights));
  weights = weights_of(read("clip-vit"));
  weights["context_length"] = at::full({}, 77, at::kLong);
  CHECK_NOTHROW(tiny::archive("clip", kVit, &weights));
}

TEST_CASE("half-precision weights and every form of the latent average are taken") {
  Weights weights = weights_of(read("generator"));
  weights["latent_avg"] = weights["latent_avg"].unsqueeze(0);
  weights["conv1.conv.weight"] = weights["conv1.conv.weight"].to(at::kHalf);
  CHECK_NOTHROW(tiny::archive("stylegan2", kGenerator, &weights));
  Weights encoder = weights_of(read("e4e"));
  encoder["latent_avg"] = at::ones({6});
  const TemporaryFile file(tiny::archive("e4e", kEncoder, &encoder));
  CHECK(at::equal(styleclip::load_module(file.path(), cpu())->tensors().at("latent_avg"), at::ones({9, 6})));
  encoder.erase("latent_avg");
  CHECK_NOTHROW(tiny::archive("e4e", kEncoder, &encoder));
}

TEST_CASE("random values have the spread the papers say") {
  const char* config =
      R"({"image_size": 8, "channels": [64, 64], "style_width": 128, "z_width": 128, "mapping_layers": 1})";
  const TemporaryFile file(tiny::archive("stylegan2", config, nullptr));
  const Weights drawn = styleclip::load_module(file.path(), cpu())->tensors();
  const auto spread = [&](const char* name) { return drawn.at(name).std().item<double>(); };
  // Standard errors of a standard deviation over n values: sigma / sqrt(2 n); four of them.
  CHECK(spread("conv1.conv.weight") == doctest::Approx(1).epsilon(4 / std::sqrt(2 * 36864.0)));
  CHECK(spread("style.1.weight") == doctest::Approx(100).epsilon(4 / std::sqrt(2 * 16384.0)));
  CHECK(at::equal(drawn.at("conv1.conv.modulation.bias"), at::ones({64})));
  CHECK(drawn.at("conv1.noise.weight").item<float>() == 0);
  CHECK(drawn.at("convs.0.conv.blur.kernel").sum().item<float>() == doctest::Approx(4));
  // The mean of w over 4096 samples: that of another 4096 differs by the standard error of both, five of them.
  const auto model = styleclip::Generator::load(file.path(), cpu());
  const at::Tensor w = model->mapping(model->sample_z(4096, 1));
  const at::Tensor apart = (w.mean(0) - drawn.at("latent_avg")).abs() / (w.std(0) * std::sqrt(2.0 / 4096));
  CHECK(apart.max().item<double>() < 5);

  const TemporaryFile clip(tiny::archive("clip", kResnet, nullptr));
  const Weights clip_drawn = styleclip::load_module(clip.path(), cpu())->tensors();
  CHECK(clip_drawn.at("logit_scale").item<double>() == doctest::Approx(std::log(1 / 0.07)));
  CHECK(clip_drawn.at("visual.layer2.1.bn3.weight").abs().sum().item<double>() == 0);
}

TEST_CASE("configurations that make no sense") {
  const auto code = [](const char* kind, const char* config) {
    return error_of([&] { styleclip::make_blueprint(kind, config); }).code();
  };
  CHECK(code("stylegan3", "{}") == ErrorCode::Argument);
  CHECK(code("stylegan2", "no json") == ErrorCode::Argument);
  CHECK(code("stylegan2", "[1]") == ErrorCode::Argument);
  CHECK(code("stylegan2", R"({"imagesize": 64})") == ErrorCode::Argument);
  CHECK(code("stylegan2", R"({"image_size": 48})") == ErrorCode::Range);
  CHECK(code("stylegan2", R"({"image_size": 16, "channels": [4, 4]})") == ErrorCode::Range);
  CHECK(code("stylegan2", R"({"image_size": 16.5})") == ErrorCode::Argument);
  CHECK(code("clip", R"({"vision": "mlp"})") == ErrorCode::Range);
  CHECK(code("clip", R"({"patch": 30})") == ErrorCode::Range);
  CHECK(code("clip", R"({"text_heads": 7})") == ErrorCode::Range);
  CHECK(code("ir-se", R"({"reduction": 48})") == ErrorCode::Range);
  CHECK(code("e4e", R"({"rows": 1})") == ErrorCode::Range);
}
