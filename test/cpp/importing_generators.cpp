// Generators out of rosinality's and NVIDIA's files, against an independent evaluation in float64.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "importing_fixture.h"
#include "relevance/exact/network.h"

using namespace import_fixture;
using namespace styleclip::importing;
using styleclip::Generator;

namespace {

// Latents, styles and picture of an imported generator; gives it for more checks.
std::shared_ptr<Generator> check_generator(const Imported& imported, const std::string& name) {
  CAPTURE(name);
  const Weights wanted = expected(name);
  const auto generator = load<Generator>(imported);
  const bool labelled = wanted.contains("labels");
  CHECK(generator->label_dim() == (labelled ? wanted.at("labels").size(1) : 0));
  const at::Tensor w = generator->mapping(wanted.at("z"), labelled ? wanted.at("labels") : at::Tensor());
  const at::Tensor s = generator->styles(generator->truncate(w, 1, -1));
  const at::Tensor image = generator->synthesis(s);
  MESSAGE(name << ": w " << distance(w, wanted.at("w")) << ", S " << distance(s, wanted.at("s")) << ", picture "
               << distance(image, wanted.at("image")));
  CHECK(distance(w, wanted.at("w")) < kParity);
  CHECK(distance(s, wanted.at("s")) < kParity);
  CHECK(distance(image, wanted.at("image")) < kParity);
  if (wanted.contains("average")) {
    CHECK(distance(generator->truncate(w, 0, -1).select(0, 0).select(0, 0), wanted.at("average")) < kParity);
  }
  return generator;
}

}  // namespace

TEST_CASE("rosinality: a checkpoint of a training") {
  const Imported imported = import(rosinality_importers(), "rosinality.pt");
  CHECK(imported.architecture == "stylegan2");
  CHECK(imported.config["channels"] == nlohmann::json({6, 5, 4}));
  CHECK(imported.config["mapping_layers"] == 3);
  CHECK(imported.config["z_width"] == 5);
  CHECK(imported.ignored == std::vector<std::string>{"d", "g", "d_optim", "args", "ada_aug_p"});
  check_generator(imported, "rosinality");
}

TEST_CASE("rosinality: a bare state dict in half precision, data-parallel names, legacy container") {
  const Imported imported = import(rosinality_importers(), "rosinality-bare.pt");
  CHECK(type_of(imported.weights.at("conv1.conv.weight")) == "Half");
  check_generator(imported, "rosinality-bare");
}

TEST_CASE("rosinality: the decoder inside an encoder's checkpoint, with its latent average") {
  const Imported imported = import(rosinality_importers(), "e4e.pt");
  const Weights wanted = expected("e4e");
  const auto generator = load<Generator>(imported);
  CHECK(generator->image_size() == 32);
  const at::Tensor w = generator->mapping(wanted.at("z"));
  CHECK(distance(w, wanted.at("w")) < kParity);
  CHECK(at::equal(generator->truncate(w, 0, -1)[0][0], wanted.at("average")));
}

TEST_CASE("rosinality: a mapper's checkpoint has a decoder without an average") {
  const Imported imported = import(rosinality_importers(), "mapper-single.pt");
  CHECK_FALSE(imported.weights.contains("latent_avg"));
  CHECK(imported.ignored == std::vector<std::string>{"opts", "mapper.*"});
  CHECK(load<Generator>(imported)->layout().rows == 6);
}

TEST_CASE("rosinality: a latent average that differs from row to row is left out, and that is said") {
  const Imported imported = import(rosinality_importers(), "decoder-rows.pt");
  CHECK_FALSE(imported.weights.contains("latent_avg"));
  CHECK(imported.ignored.at(0) == "latent_avg");
  CHECK(imported.notes.at(0).find("latent_avg") != std::string::npos);
  const auto generator = load<Generator>(imported);
  const at::Tensor w = generator->mapping(generator->sample_z(4096, 0));
  CHECK(distance(generator->truncate(w, 0, -1)[0][0], w.mean(0)) < kParity);
}

TEST_CASE("NVIDIA, PyTorch: stylegan2-ada") {
  const Imported imported = import(nvidia_torch_importers(), "nvidia-ada.pkl");
  CHECK(imported.config["mapping_layers"] == 8);
  CHECK_FALSE(imported.config.contains("conv_clamp"));
  CHECK(imported.ignored == std::vector<std::string>{"G", "D", "augment_pipe", "training_set_kwargs"});
  check_generator(imported, "nvidia-ada");
}

TEST_CASE("NVIDIA, PyTorch: a conditional generator with two mapping layers, a clamp and float16") {
  const Imported imported = import(nvidia_torch_importers(), "nvidia-ada-conditional.pkl");
  CHECK(imported.config["conv_clamp"] == 1.5);
  CHECK(imported.config["num_fp16_res"] == 1);
  CHECK(imported.config["mapping_layers"] == 2);
  const auto generator = check_generator(imported, "nvidia-ada-conditional");
  const at::Tensor z = expected("nvidia-ada-conditional").at("z");
  using styleclip::ErrorCode;
  CHECK(fixture::error_of([&] { generator->mapping(z); }).code() == ErrorCode::Argument);
  CHECK(fixture::error_of([&] { generator->mapping(z, at::zeros({3, 2})); }).code() == ErrorCode::Shape);
  CHECK(fixture::error_of([&] { generator->mapping(z, at::zeros({2, 3})); }).code() == ErrorCode::Shape);
  // The clamp bites: without it the pictures differ.
  Imported free = imported;
  free.config.erase("conv_clamp");
  const Weights wanted = expected("nvidia-ada-conditional");
  CHECK(distance(load<Generator>(free)->synthesis(wanted.at("s")), wanted.at("image")) > 0.01);
}

TEST_CASE("NVIDIA, PyTorch: StyleGAN2 of the stylegan3 repository, another filter, no noise") {
  const Imported imported = import(nvidia_torch_importers(), "nvidia-stylegan3-repository.pkl");
  CHECK(imported.config["mapping_lr_multiplier"] == 0.02);
  CHECK(imported.config["conv_clamp"] == 256);
  const auto generator = check_generator(imported, "nvidia-stylegan3-repository");
  const Weights wanted = expected("nvidia-stylegan3-repository");
  CHECK(distance(generator->synthesis(wanted.at("s"), styleclip::NoiseMode::Random, 3), wanted.at("image")) < kParity);
}

TEST_CASE("NVIDIA, TensorFlow: config-f, and ada with labels and a clamp") {
  const Imported imported = import(nvidia_tensorflow_importers(), "nvidia-tensorflow.pkl");
  CHECK(imported.config["mapping_layers"] == 8);
  CHECK(imported.ignored == std::vector<std::string>{"G", "D"});
  check_generator(imported, "nvidia-tensorflow");
  check_generator(import(nvidia_tensorflow_importers(), "nvidia-tensorflow-ada.pkl"), "nvidia-tensorflow-ada");
}

TEST_CASE("an import outlives its checkpoint, and one checkpoint may be imported twice") {
  // TensorFlow's importer lets go of what the checkpoint copied out of the file.
  auto file = std::make_unique<Checkpoint>(read("nvidia-tensorflow.pkl"));
  const Imported first = import(nvidia_tensorflow_importers(), *file);
  const Imported second = import(nvidia_tensorflow_importers(), *file);
  file.reset();
  CHECK(first.weights.size() == second.weights.size());
  for (const auto& [name, tensor] : first.weights) CHECK(at::equal(tensor, second.weights.at(name)));
  check_generator(first, "nvidia-tensorflow");
}

TEST_CASE("weights of a torch file are views of it: nothing is copied before they are written") {
  const Checkpoint file = read("rosinality.pt");
  const Imported imported = import(rosinality_importers(), file);
  const Weights held = state_dict(*file.root().find("g_ema"));
  for (const auto& [name, tensor] : imported.weights) {
    if (name != "latent_avg") CHECK(tensor.const_data_ptr() == held.at(name).const_data_ptr());
  }
}

TEST_CASE("the epsilon of demodulation weighs as the file's code has it") {
  // In each fixture one layer has styles so small that the epsilon counts: the other convention gives other pictures.
  const auto other = [](Imported imported, const std::string& name, const char* demodulation) {
    imported.config["demodulation"] = demodulation;
    const Weights wanted = expected(name);
    return distance(load<Generator>(imported)->synthesis(wanted.at("s")), wanted.at("image"));
  };
  CHECK(other(import(nvidia_torch_importers(), "nvidia-ada.pkl"), "nvidia-ada", "scaled") > kParity);
  CHECK(other(import(nvidia_tensorflow_importers(), "nvidia-tensorflow.pkl"), "nvidia-tensorflow", "plain") > kParity);
}

TEST_CASE("the exact sweep, which reads an archive's tensors, keeps to the same conventions") {
  const auto network = [](const std::vector<Importer>& importers, const char* file) {
    return styleclip::exact::read_network(*load<Generator>(import(importers, file)));
  };
  const auto torch = network(nvidia_torch_importers(), "nvidia-ada-conditional.pkl");
  REQUIRE(torch);
  CHECK(torch->clamp == 1.5);
  for (const auto& conv : torch->convs) {
    CHECK(conv.epsilon == doctest::Approx(1e-8 / (9.0 * static_cast<double>(conv.inputs))).epsilon(1e-6));
  }
  const auto tensorflow = network(nvidia_tensorflow_importers(), "nvidia-tensorflow.pkl");
  REQUIRE(tensorflow);
  CHECK_FALSE(tensorflow->clamp);
  CHECK(tensorflow->convs.at(0).epsilon == 1e-8);
}

TEST_CASE("float16 in the highest resolutions alone, where the file was trained so") {
  const Imported imported = import(nvidia_torch_importers(), "nvidia-ada-conditional.pkl");
  const auto half = load<Generator>(imported, "float16");
  const Weights tensors = half->tensors();
  CHECK(type_of(tensors.at("convs.1.conv.weight")) == "Float");  // 8 pixels
  CHECK(type_of(tensors.at("noises.noise_2")) == "Float");
  CHECK(type_of(tensors.at("convs.2.conv.weight")) == "Half");  // 16 pixels
  CHECK(type_of(tensors.at("to_rgbs.1.conv.weight")) == "Half");
  CHECK(type_of(tensors.at("noises.noise_3")) == "Half");
  const Weights wanted = expected("nvidia-ada-conditional");
  const at::Tensor image = half->synthesis(wanted.at("s"));
  // Two convolutions of four rounded steps and a toRGB: three times the root of their number of unit roundoffs.
  CHECK(distance(image, wanted.at("image")) < 3 * 0x1p-11 * 3);
  CHECK(distance(image, wanted.at("image")) > 1e-6);
  // bfloat16 has float32's range: it holds everywhere.
  CHECK(type_of(load<Generator>(imported, "bfloat16")->tensors().at("convs.1.conv.weight")) == "BFloat16");
}
