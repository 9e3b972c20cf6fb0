// Loading: description, checksums, trust, then libtorch, then dtype. The order matters: code is compiled only after the
// file was found whole, of the right kind, and either ours by its operators or trusted by the caller.
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/frontend/error_report.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstdlib>
#include <functional>
#include <string_view>
#include <utility>

#include "models/archive.h"
#include "models/build.h"
#include "models/model_impl.h"
#include "models/scalar_type.h"
#include "runtime/sha256.h"
#include "styleclip/error.h"
#include "styleclip/runtime.h"

namespace styleclip {
namespace {

void check_trust(const std::string& path, const ArchiveDescription& description, bool trust) {
  if (trust) return;
  if (description.kind == "module") {
    throw Error(ErrorCode::Trust, path + " is a TorchScript module that styleclip did not make: its code would run.",
                "Pass trust: true if you trust where it comes from.");
  }
  const std::string call = foreign_operator(path);
  if (!call.empty()) {
    throw Error(
        ErrorCode::Trust,
        path + " says it is a styleclip archive, but its code calls '" + call + "', which no archive of ours does.",
        "Pass trust: true if you trust where it comes from.");
  }
}

// Resolution, in pixels, of what a generator's tensor serves: rosinality's names count the convolutions and noise maps of
// the later blocks in pairs, and their toRGB layers one by one.
std::int64_t resolution_of(const std::string& name) {
  const auto number = [&name](std::string_view prefix) {
    return name.starts_with(prefix) ? std::atoll(name.c_str() + prefix.size()) : -1;
  };
  if (const std::int64_t conv = number("convs."); conv >= 0) return std::int64_t{8} << (conv / 2);
  if (const std::int64_t rgb = number("to_rgbs."); rgb >= 0) return std::int64_t{8} << rgb;
  if (const std::int64_t noise = number("noises.noise_"); noise > 0) return std::int64_t{8} << ((noise - 1) / 2);
  return 4;
}

// A generator that was trained with float16 in its highest resolutions alone runs so in float16; the others take half
// precision everywhere, or nowhere.
std::function<bool(const std::string&)> single_precision_part(const LoadedModule& loaded) {
  if (loaded.description.kind != "generator" || loaded.type != at::kHalf) return {};
  const nlohmann::json config = loaded.json.value("config", nlohmann::json::object());
  const std::int64_t half = config.value("num_fp16_res", std::int64_t{0});
  const std::int64_t size = config.value("image_size", std::int64_t{0});
  if (half < 1 || half > 16 || size < 4) return {};
  return [first = size >> (half - 1)](const std::string& name) { return resolution_of(name) < first; };
}

std::string article(const std::string& kind) { return (kind == "identity" || kind == "encoder" ? "an " : "a ") + kind; }

}  // namespace

LoadedModule load_module_file(const std::string& path, const LoadOptions& options, const std::string& kind) {
  LoadedModule loaded;
  loaded.path = path;
  loaded.device = resolve_device(options.device);
  loaded.dtype = options.dtype;
  loaded.place = at::Device(loaded.device);
  loaded.type = parse_dtype(options.dtype);
  loaded.description = open_archive(path);
  loaded.json = nlohmann::json::parse(loaded.description.json);
  if (!kind.empty() && !loaded.foreign() && loaded.description.kind != kind) {
    throw Error(ErrorCode::ModelKind, path + " is " + article(loaded.description.kind) + ", not " + article(kind) + ".",
                "Give the file of " + article(kind) + " (`styleclip info FILE` tells a file's kind).");
  }
  check_trust(path, loaded.description, options.trust);
  loaded.sha256 = sha256_of_file(path);
  // Tensors made in inference mode could never be differentiated; the caller may be in it.
  const c10::InferenceMode guard(false);
  try {
    loaded.module = torch::jit::load(path, loaded.place);
    loaded.module.eval();
    convert_module(loaded.module, loaded.description.kind, loaded.type, single_precision_part(loaded));
  } catch (...) {
    try {
      rethrow_translated("load " + path);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::Internal) throw;
      throw Error(ErrorCode::FileDamaged, path + " cannot be loaded: libtorch does not understand it.",
                  "The file is damaged, or was written by a newer libtorch.", error.cause());
    }
  }
  return loaded;
}

}  // namespace styleclip
