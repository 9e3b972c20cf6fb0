// make_archive: blueprint, tensors, module, description; serialised to memory (Module::save(path) ends the process on a
// full disk) for write_file_atomic.
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "models/archive.h"
#include "models/build.h"
#include "models/scalar_type.h"
#include "models/spec.h"
#include "models/tensors.h"
#include "runtime/philox.h"
#include "styleclip/error.h"
#include "styleclip/models.h"

namespace styleclip {
namespace {

constexpr std::int64_t kAverageSamples = 4096;  // StyleCLIP's mean_latent(4096)

// The mean of w over samples 0..4095 of seed 0, where the weights have no latent_avg.
at::Tensor average_w(torch::jit::Module& module, std::int64_t z_width) {
  at::Tensor z = at::zeros({kAverageSamples, z_width});
  for (std::int64_t i = 0; i < kAverageSamples; ++i) {
    philox_normal(z.data_ptr<float>() + i * z_width, z_width, 0, static_cast<std::uint32_t>(PhiloxStream::Z),
                  static_cast<std::uint64_t>(i));
  }
  return module.get_method("mapping")({z}).toTensor().mean(0).detach();
}

std::string describe(const Blueprint& blueprint, const MakeRequest& request, std::int64_t parameters,
                     bool average_computed) {
  nlohmann::ordered_json json = {{"format", {{"major", kFormatMajor}, {"minor", kFormatMinor}}},
                                 {"kind", blueprint.kind},
                                 {"architecture", blueprint.architecture}};
  json.update(blueprint.details);
  json["config"] = blueprint.config;
  json["dtype"] = request.storage_dtype;
  json["parameters"] = parameters;
  if (request.weights == nullptr) {
    json["source"] = {{"random", true}, {"seed", request.seed}};
  } else {
    json["source"] = {{"sha256", request.source_sha256}};
  }
  if (average_computed) json["source"]["latentAverage"] = "mean of " + std::to_string(kAverageSamples) + " samples";
  json["licence"] = request.licence;
  json["writer"] = std::string("styleclip ") + STYLECLIP_VERSION;
  json["minStyleclip"] = kFormatReader;
  json["minTorch"] = kMinTorch;
  return json.dump(2);
}

MadeArchive make(const MakeRequest& request, const RunContext& run) {
  const at::ScalarType dtype = parse_dtype(request.storage_dtype);
  if (request.licence.empty()) {
    throw Error(ErrorCode::Argument, "The licence is empty.", "Name the weights' licence, or say 'unknown'.");
  }
  const Blueprint blueprint = make_blueprint(request.kind, request.config_json);
  if (!request.tokenizer_json.empty()) {
    if (blueprint.kind != "clip") {
      throw Error(ErrorCode::Argument, "Only a clip archive carries a tokenizer.", "Leave the tokenizer out.");
    }
    if (!nlohmann::json::accept(request.tokenizer_json)) {
      throw Error(ErrorCode::Argument, "The tokenizer is no JSON.", "Give the text of a tokenizer.json.");
    }
  }
  TensorMap tensors = request.weights == nullptr ? draw_weights(blueprint, request.seed, run)
                                                 : take_weights(blueprint, *request.weights, request.seed, run);
  run.check();
  torch::jit::Module module = build_module(blueprint, tensors);
  const bool needs_average =
      blueprint.kind == "generator" && (request.weights == nullptr || !request.weights->contains("latent_avg"));
  if (needs_average) {
    module.setattr("latent_avg", average_w(module, blueprint.config.at("zWidth").get<std::int64_t>()));
  }
  MadeArchive made;
  for (const auto& parameter : module.named_parameters()) made.parameters += parameter.value.numel();
  made.description_json = describe(blueprint, request, made.parameters, needs_average);
  convert_module(module, blueprint.kind, dtype);
  tensors.clear();
  run.check();
  std::ostringstream out;
  torch::jit::ExtraFilesMap extra = {{"styleclip.json", made.description_json}};
  if (!request.tokenizer_json.empty()) extra["tokenizer.json"] = request.tokenizer_json;
  module.save(out, extra);
  made.bytes = std::move(out).str();
  return made;
}

}  // namespace

MadeArchive make_archive(const MakeRequest& request, const RunContext& run) {
  const c10::InferenceMode guard(false);  // whatever the caller's mode: these tensors may be differentiated one day
  try {
    return make(request, run);
  } catch (...) {
    rethrow_translated("make a " + request.kind + " archive");
  }
}

}  // namespace styleclip
