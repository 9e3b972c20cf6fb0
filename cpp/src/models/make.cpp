// make_archive and write_archive: blueprint, tensors, module, description; then libtorch's serialiser, into memory or
// piece by piece into an atomic file. The serialiser must never see a write fail: it would end the process
// (PyTorchStreamWriter's destructor throws), so the file's sink keeps the failure and swallows the rest.
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/export.h>

#include <algorithm>
#include <exception>
#include <map>
#include <sstream>
#include <utility>

#include "models/archive.h"
#include "models/build.h"
#include "models/scalar_type.h"
#include "models/spec.h"
#include "models/tensors.h"
#include "runtime/atomic_file.h"
#include "runtime/philox.h"
#include "runtime/sha256.h"
#include "styleclip/error.h"
#include "styleclip/models.h"

namespace styleclip {
namespace {

constexpr std::int64_t kAverageSamples = 4096;  // StyleCLIP's mean_latent(4096)

// The mean of w over samples 0..4095 of seed 0, where the weights have no latent_avg.
at::Tensor average_w(torch::jit::Module& module, std::int64_t z_width, std::int64_t label_width) {
  at::Tensor z = at::zeros({kAverageSamples, z_width});
  for (std::int64_t i = 0; i < kAverageSamples; ++i) {
    philox_normal(z.data_ptr<float>() + i * z_width, z_width, 0, static_cast<std::uint32_t>(PhiloxStream::Z),
                  static_cast<std::uint64_t>(i));
  }
  std::vector<c10::IValue> inputs = {z};
  if (label_width > 0) inputs.emplace_back(every_label(kAverageSamples, label_width));
  return module.get_method("mapping")(std::move(inputs)).toTensor().mean(0).detach();
}

// The type that most numbers are stored in.
at::ScalarType main_type(const TensorMap& tensors) {
  std::map<at::ScalarType, std::int64_t> counts;
  for (const auto& [name, tensor] : tensors) {
    if (tensor.is_floating_point()) counts[tensor.scalar_type()] += tensor.numel();
  }
  const auto most =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == counts.end() ? at::kFloat : most->first;
}

std::string describe(const Blueprint& blueprint, const MakeRequest& request, const std::string& dtype,
                     std::int64_t parameters, bool average_computed) {
  nlohmann::ordered_json json = {{"format", {{"major", kFormatMajor}, {"minor", kFormatMinor}}},
                                 {"kind", blueprint.kind},
                                 {"architecture", blueprint.architecture}};
  json.update(blueprint.details);
  json["config"] = blueprint.config;
  json["dtype"] = dtype;
  json["parameters"] = parameters;
  if (request.weights == nullptr) {
    json["source"] = {{"random", true}, {"seed", request.seed}};
  } else {
    json["source"] = {{"sha256", request.source_sha256}};
    if (!request.source_format.empty()) json["source"]["format"] = request.source_format;
  }
  if (!request.training_json.empty()) {
    nlohmann::ordered_json training = nlohmann::ordered_json::parse(request.training_json, nullptr, false);
    if (!training.is_object()) {
      throw Error(ErrorCode::Argument, "The training is no JSON object.", "Give the text of one, or leave it out.");
    }
    json["training"] = std::move(training);
  }
  if (average_computed) json["source"]["latent_average"] = "mean of " + std::to_string(kAverageSamples) + " samples";
  if (!request.generator_sha256.empty()) json["generator_sha256"] = request.generator_sha256;
  json["licence"] = request.licence;
  json["writer"] = std::string("styleclip ") + STYLECLIP_VERSION;
  json["min_styleclip"] = kFormatReader;
  json["min_torch"] = kMinTorch;
  return json.dump(2);
}

struct Built {
  torch::jit::Module module;
  std::string description;
  torch::jit::ExtraFilesMap extra;
  std::int64_t parameters = 0;
  std::int64_t bytes = 0;  // of its tensors
};

Built build(const MakeRequest& request, const RunContext& run) {
  const at::ScalarType dtype = parse_storage_dtype(request.storage_dtype);
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
  const TensorMap tensors = request.weights == nullptr
                                ? draw_weights(blueprint, request.seed, dtype, run)
                                : take_weights(blueprint, *request.weights, request.seed, run, dtype, request.release);
  Built built{build_module(blueprint, tensors), "", {}, 0, 0};
  const bool needs_average =
      blueprint.kind == "generator" && (request.weights == nullptr || !request.weights->contains("latent_avg"));
  if (needs_average) {
    const auto width = [&blueprint](const char* field) { return blueprint.config.at(field).get<std::int64_t>(); };
    built.module.setattr("latent_avg", average_w(built.module, width("z_width"), width("label_width")));
  }
  for (const auto& parameter : built.module.named_parameters()) built.parameters += parameter.value.numel();
  for (const auto& [name, tensor] : tensors) built.bytes += static_cast<std::int64_t>(tensor.nbytes());
  const std::string stored =
      dtype == at::ScalarType::Undefined ? dtype_name(main_type(tensors)) : request.storage_dtype;
  built.description = describe(blueprint, request, stored, built.parameters, needs_average);
  built.extra["styleclip.json"] = built.description;
  if (!request.tokenizer_json.empty()) built.extra["tokenizer.json"] = request.tokenizer_json;
  run.check();
  return built;
}

// Where the serialiser's bytes go: into the file and through the hash.
class FileSink {
 public:
  FileSink(const std::string& path, const RunContext& run, std::int64_t expected, const Release& release)
      : file_(path), meter_(run, "write", expected, "bytes"), left_(expected), release_(release) {}

  std::size_t take(const void* data, std::size_t bytes) noexcept {
    const auto* at = static_cast<const char*>(data);
    for (std::size_t done = 0; done < bytes && !failure_; done += kPiece) {
      try {
        put(at + done, std::min(kPiece, bytes - done));
      } catch (...) {
        failure_ = std::current_exception();
      }
    }
    return bytes;
  }

  WrittenArchive finish() {
    if (failure_) std::rethrow_exception(failure_);
    if (left_ > 0) meter_.step(left_);
    file_.commit();
    return {"", 0, file_.bytes(), hash_.hex()};
  }

 private:
  static constexpr std::size_t kPiece = 8U << 20U;  // between two looks at the cancel flag

  void put(const char* data, std::size_t bytes) {
    hash_.update(data, bytes);
    file_.write(data, bytes);
    if (release_) release_(data, bytes);
    const std::int64_t step = std::min(left_, static_cast<std::int64_t>(bytes));
    left_ -= step;
    meter_.step(step);
  }

  AtomicFile file_;
  Sha256 hash_;
  ProgressMeter meter_;
  std::int64_t left_;  // of the expected bytes; the zip's own come on top
  const Release& release_;
  std::exception_ptr failure_;
};

}  // namespace

MadeArchive make_archive(const MakeRequest& request, const RunContext& run) {
  const c10::InferenceMode guard(false);  // whatever the caller's mode: these tensors may be differentiated one day
  try {
    Built built = build(request, run);
    std::ostringstream out;
    built.module.save(out, built.extra);
    return {std::move(out).str(), std::move(built.description), built.parameters};
  } catch (...) {
    rethrow_translated("make a " + request.kind + " archive");
  }
}

WrittenArchive write_archive(const MakeRequest& request, const std::string& path, const RunContext& run) {
  const c10::InferenceMode guard(false);
  try {
    Built built = build(request, run);
    FileSink sink(path, run, built.bytes, request.release);
    torch::jit::ExportModule(
        built.module, [&sink](const void* data, std::size_t bytes) { return sink.take(data, bytes); }, built.extra);
    WrittenArchive written = sink.finish();
    written.description_json = std::move(built.description);
    written.parameters = built.parameters;
    return written;
  } catch (...) {
    rethrow_translated("make a " + request.kind + " archive");
  }
}

}  // namespace styleclip
