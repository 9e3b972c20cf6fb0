// What importers refuse, and what they call it: the file's own names, never only ours.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <functional>
#include <map>

#include "importing/conversion.h"
#include "importing_fixture.h"

using namespace import_fixture;
using namespace styleclip::importing;
using styleclip::ErrorCode;

namespace {

// An import of rosinality's fixture after a change to its tensors, through the step that all importers share.
styleclip::Error broken(const std::function<void(Weights&)>& change) {
  const Imported good = import(rosinality_importers(), "rosinality.pt");
  Weights tensors;
  for (const auto& [name, tensor] : good.weights) tensors["decoder." + name] = tensor;
  change(tensors);
  Imported again = begin_import("stylegan2", "rosinality", good.config);
  return fixture::error_of(
      [&] { take_tensors(again, tensors, [](const std::string& name) { return Source{"decoder." + name}; }); });
}

}  // namespace

TEST_CASE("unexpected and missing names are the file's") {
  const styleclip::Error error = broken([](Weights& tensors) {
    tensors["decoder.conv1.conv.wieght"] = tensors.at("decoder.conv1.conv.weight");
    tensors.erase("decoder.conv1.conv.weight");
    tensors.erase("decoder.to_rgb1.bias");
  });
  CHECK(error.code() == ErrorCode::ModelMismatch);
  CHECK(says(error, "unexpected 'decoder.conv1.conv.wieght'"));
  CHECK(says(error, "missing 'decoder.conv1.conv.weight' 'decoder.to_rgb1.bias'"));
}

TEST_CASE("names inside a larger checkpoint keep what the file has before them") {
  const Imported good = import(rosinality_importers(), "rosinality.pt");
  Weights tensors = good.weights;
  tensors["conv1.conv.wieght"] = tensors.at("conv1.conv.weight");
  tensors.erase("conv1.conv.weight");
  const auto refusal_of = [&good](const Weights& given) {
    Imported again = begin_import("stylegan2", "rosinality", good.config);
    return fixture::error_of(
        [&] { take_tensors(again, given, [](const std::string& name) { return Source{name}; }, "decoder."); });
  };
  const styleclip::Error error = refusal_of(tensors);
  CHECK(says(error, "unexpected 'decoder.conv1.conv.wieght'"));
  CHECK(says(error, "missing 'decoder.conv1.conv.weight'"));
  tensors = good.weights;
  tensors["conv1.conv.weight"] = at::zeros({2, 2});
  CHECK(says(refusal_of(tensors), "'decoder.conv1.conv.weight' has shape [2, 2]"));
}

TEST_CASE("a wrong shape is told with both shapes") {
  const styleclip::Error error =
      broken([](Weights& tensors) { tensors["decoder.conv1.conv.weight"] = at::zeros({1, 6, 6, 1, 1}); });
  CHECK(error.code() == ErrorCode::ModelMismatch);
  CHECK(says(error, "'decoder.conv1.conv.weight' has shape [1, 6, 6, 1, 1]"));
  CHECK(says(error, "[1, 6, 6, 3, 3]"));
}

TEST_CASE("what may be missing may be missing") {
  const Imported good = import(rosinality_importers(), "rosinality.pt");
  Weights tensors = good.weights;
  for (const char* name : {"latent_avg", "noises.noise_2", "convs.0.conv.blur.kernel"}) tensors.erase(name);
  Imported again = begin_import("stylegan2", "rosinality", good.config);
  CHECK_NOTHROW(take_tensors(again, tensors, [](const std::string& name) { return Source{name}; }));
}

TEST_CASE("NVIDIA's variants that are no StyleGAN2 with skips are refused by name") {
  const styleclip::Error stylegan3 = refusal(nvidia_torch_importers(), "nvidia-stylegan3.pkl");
  CHECK(stylegan3.code() == ErrorCode::ModelMismatch);
  CHECK(says(stylegan3, "StyleGAN3"));
  const styleclip::Error resnet = refusal(nvidia_torch_importers(), "nvidia-resnet.pkl");
  CHECK(says(resnet, "architecture"));
  CHECK(says(resnet, "'resnet'"));
  CHECK(says(refusal(nvidia_tensorflow_importers(), "nvidia-tensorflow-resnet.pkl"), "architecture 'resnet'"));
  const styleclip::Error old = refusal(nvidia_tensorflow_importers(), "nvidia-tensorflow-old.pkl");
  CHECK(old.code() == ErrorCode::ModelMismatch);
  CHECK(says(old, "version 3"));
}

TEST_CASE("a file whose modules hold each other twice over, many levels deep, is refused at once") {
  const styleclip::Error error = refusal(nvidia_torch_importers(), "nvidia-bomb.pkl");
  CHECK(error.code() == ErrorCode::ModelMismatch);
  CHECK(says(error, "too many modules"));
}

TEST_CASE("an importer recognises its own files only") {
  const std::map<std::string, std::vector<Importer>> formats = {
      {"rosinality.pt", rosinality_importers()},
      {"nvidia-ada.pkl", nvidia_torch_importers()},
      {"nvidia-tensorflow.pkl", nvidia_tensorflow_importers()},
      {"ir-se.pth", identity_importers()},
      {"psp.pt", encoder_importers()},
      {"mapper.pt", mapper_importers()}};
  for (const auto& [file, own] : formats) {
    const Checkpoint checkpoint = read(file);
    for (const auto& [other, importers] : formats) {
      CAPTURE(file);
      CAPTURE(other);
      CHECK(importers.at(0).recognises(checkpoint) == (file == other));
    }
  }
}

TEST_CASE("filters of up to four taps are kept in place; longer ones are refused by name") {
  const at::Tensor kernel = up_kernel(at::tensor({1.0, 2.0, 1.0}), "f");
  CHECK(kernel.sum().item<double>() == doctest::Approx(4));
  CHECK(kernel.select(0, 0).abs().max().item<double>() == 0);  // three taps: the first of four is empty
  CHECK(kernel[2][2].item<double>() == doctest::Approx(1));
  const styleclip::Error error = fixture::error_of([] { up_kernel(at::ones({6, 6}), "synthesis.b8.resample_filter"); });
  CHECK(error.code() == ErrorCode::ModelMismatch);
  CHECK(says(error, "synthesis.b8.resample_filter"));
}
