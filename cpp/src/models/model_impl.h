// What every model holds: the module, its description, where and in what it runs. Shared by the four model classes.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/tensors.h"
#include "styleclip/models.h"

namespace styleclip {

struct LoadedModule {
  torch::jit::Module module;
  ArchiveDescription description;
  nlohmann::json json;
  std::string path, device, dtype, sha256;
  at::Device place = at::kCPU;
  at::ScalarType type = at::kFloat;

  bool foreign() const { return description.kind == "module"; }
  /// Runs a method. Native failures become Errors that name the method and the file.
  c10::IValue call(const std::string& method, std::vector<c10::IValue> inputs) const;
  /// The same for a method that gives one tensor; float32.
  at::Tensor tensor(const std::string& method, std::vector<c10::IValue> inputs) const;

  /// A whole number that styleclip.json has (`field`), or, in a foreign module, an attribute of one of these names.
  std::int64_t integer(const char* field, const std::vector<std::string>& attributes,
                       std::optional<std::int64_t> fallback) const;
  std::vector<double> numbers(const char* field, const std::vector<double>& fallback) const;
  std::string text(const char* field, const std::string& fallback) const;
  /// Throws ModelMismatch when a foreign module lacks one of these methods.
  void need_methods(const std::vector<std::string>& methods) const;
  /// float32 on the model's device. Throws Shape when `input` is not [n, ...] with the given trailing sizes (-1: any).
  at::Tensor input(const at::Tensor& input, const std::vector<std::int64_t>& trailing, const char* what) const;
};

/// Loads an archive of `kind` ("" for any), checking it first; see models.h for what is thrown.
LoadedModule load_module_file(const std::string& path, const LoadOptions& options, const std::string& kind);

struct Model::Impl : LoadedModule {
  explicit Impl(LoadedModule loaded) : LoadedModule(std::move(loaded)) {}
};

}  // namespace styleclip
