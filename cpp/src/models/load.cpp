// Loading: description, checksums, trust, then libtorch, then dtype. The order matters: code is compiled only after the
// file was found whole, of the right kind, and either ours by its operators or trusted by the caller.
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/frontend/error_report.h>
#include <torch/csrc/jit/serialization/import.h>

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
    convert_module(loaded.module, loaded.description.kind, loaded.type);
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
