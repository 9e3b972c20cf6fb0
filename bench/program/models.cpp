#include "models.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <unistd.h>

#include <filesystem>

#include "styleclip/error.h"

namespace styleclip::bench {
namespace {

/// A file that is gone with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name)
      : path_((std::filesystem::temp_directory_path() / ("styleclip-bench-" + std::to_string(getpid()) + "-" + name))
                  .string()) {}
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Freshly made generators have no noise and no biases: both are given some, in place.
void make_lifelike(Generator& generator) {
  at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(5);
  for (auto& [tensor_name, tensor] : generator.tensors()) {
    const bool strength = tensor_name.ends_with(".noise.weight");
    const bool bias = tensor_name.ends_with(".activate.bias") ||
                      (tensor_name.find("to_rgb") != std::string::npos && tensor_name.ends_with(".bias") &&
                       tensor_name.find("modulation") == std::string::npos);
    if (!strength && !bias) continue;
    at::Tensor values = at::randn(tensor.sizes(), engine) * (strength ? 0.05 : 0.1);
    at::Tensor to = tensor.detach();
    to.copy_(values);
  }
}

}  // namespace

std::shared_ptr<Generator> random_generator(std::int64_t size, std::int64_t channel_max, const LoadOptions& options) {
  const TemporaryFile file("generator-" + std::to_string(size) + ".pt");
  MakeRequest request;
  request.kind = "stylegan2";
  request.config_json =
      nlohmann::json{{"image_size", size}, {"channel_base", 32768}, {"channel_max", channel_max}}.dump();
  request.seed = 1;
  write_archive(request, file.path(), {});
  std::shared_ptr<Generator> generator = Generator::load(file.path(), options);
  make_lifelike(*generator);
  return generator;
}

Models load_models(const Arguments& arguments, const std::string& dtype) {
  LoadOptions options;
  options.device = arguments.text("device");
  options.dtype = dtype;
  Models models;
  models.generator = arguments.text("generator").empty()
                         ? random_generator(arguments.number("size"), arguments.number("channel-max"), options)
                         : Generator::load(arguments.text("generator"), options);
  if (arguments.text("clip").empty()) {
    const TemporaryFile file("clip.pt");
    MakeRequest request;
    request.kind = "clip";
    request.config_json = nlohmann::json{{"preset", arguments.text("clip-preset")}}.dump();
    request.seed = 2;
    write_archive(request, file.path(), {});
    models.clip = Clip::load(file.path(), options);
  } else {
    models.clip = Clip::load(arguments.text("clip"), options);
  }
  models.statistics = style_statistics(*models.generator, arguments.number("samples"), {}, {});
  return models;
}

nlohmann::ordered_json describe(const Models& models) {
  const StyleLayout& layout = models.generator->layout();
  return {{"generator",
           {{"sha256", models.generator->sha256()},
            {"imageSize", models.generator->image_size()},
            {"convChannels", layout.conv_channels()},
            {"torgbChannels", layout.torgb_channels()}}},
          {"clip",
           {{"sha256", models.clip->sha256()},
            {"imageSize", models.clip->image_size()},
            {"embedding", models.clip->embedding_dim()}}}};
}

}  // namespace styleclip::bench
