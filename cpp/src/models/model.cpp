// The part common to all models: access to the module, its description, and running any method of it.
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <utility>

#include "models/build.h"
#include "models/model_impl.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

void flatten_into(const c10::IValue& value, std::vector<at::Tensor>& out, const std::string& method) {
  if (value.isTensor()) {
    out.push_back(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) out.push_back(tensor);
  } else if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements()) flatten_into(element, out, method);
  } else if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) flatten_into(element, out, method);
  } else if (!value.isNone()) {
    throw Error(ErrorCode::Argument, "Method '" + method + "' gives " + value.type()->str() + ", not tensors.",
                "Run a method that gives tensors, or a list or tuple of them.");
  }
}

class AnyModel final : public Model {
 public:
  explicit AnyModel(std::unique_ptr<Impl> impl) : Model(std::move(impl)) {}
  static std::shared_ptr<Model> load(const std::string& path, const LoadOptions& options) {
    return std::make_shared<AnyModel>(std::make_unique<Impl>(load_module_file(path, options, "")));
  }
};

// An attribute of a foreign module as a number: an int, or a tensor of one element as OpenAI's archives have.
std::optional<std::int64_t> attribute_number(const torch::jit::Module& module, const std::string& name) {
  if (!module.hasattr(name)) return std::nullopt;
  const c10::IValue value = module.attr(name);
  if (value.isInt()) return value.toInt();
  if (value.isTensor() && value.toTensor().numel() == 1) {
    return static_cast<std::int64_t>(std::llround(value.toTensor().to(at::kCPU, at::kDouble).item<double>()));
  }
  return std::nullopt;
}

}  // namespace

c10::IValue LoadedModule::call(const std::string& method, std::vector<c10::IValue> inputs) const {
  try {
    return module.get_method(method)(std::move(inputs));
  } catch (...) {
    rethrow_translated("run '" + method + "' of " + path);
  }
}

at::Tensor LoadedModule::tensor(const std::string& method, std::vector<c10::IValue> inputs) const {
  const c10::IValue value = call(method, std::move(inputs));
  if (!value.isTensor()) {
    throw Error(ErrorCode::ModelMismatch,
                "'" + method + "' of " + path + " gives " + value.type()->str() + ", not a tensor.",
                "docs/models.md says what a foreign module's methods take and give.");
  }
  return value.toTensor().to(at::kFloat);
}

std::int64_t LoadedModule::integer(const char* field, const std::vector<std::string>& attributes,
                                   std::optional<std::int64_t> fallback) const {
  std::optional<std::int64_t> value = fallback;
  if (!foreign()) {
    if (json.contains(field) && json[field].is_number_integer()) value = json[field].get<std::int64_t>();
  } else {
    for (const std::string& name : attributes) {
      if (const auto found = attribute_number(module, name)) {
        value = found;
        break;
      }
    }
  }
  if (value && *value > 0) return *value;
  if (foreign()) {
    throw Error(ErrorCode::ModelMismatch, path + " has no usable whole-number attribute '" + attributes.at(0) + "'.",
                "A foreign module says its sizes in attributes; docs/models.md lists them.");
  }
  throw Error(ErrorCode::FileDamaged, path + ": styleclip.json has no usable '" + field + "'.",
              "Make the archive again.");
}

std::vector<double> LoadedModule::numbers(const char* field, const std::vector<double>& fallback) const {
  std::vector<double> values = fallback;
  if (!foreign() && json.contains(field)) {
    const bool fits = json[field].is_array() && json[field].size() == fallback.size();
    if (!fits)
      throw Error(ErrorCode::FileDamaged, path + ": styleclip.json has no usable '" + field + "'.",
                  "Make the archive again.");
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = json[field][i].is_number() ? json[field][i].get<double>() : std::nan("");
    }
  } else if (foreign() && module.hasattr(field) && module.attr(field).isDoubleList()) {
    const std::vector<double> given = module.attr(field).toDoubleVector();
    if (given.size() == fallback.size()) values = given;
  }
  return values;
}

std::string LoadedModule::text(const char* field, const std::string& fallback) const {
  if (!foreign() && json.contains(field) && json[field].is_string()) return json[field].get<std::string>();
  if (foreign() && module.hasattr(field) && module.attr(field).isString()) return module.attr(field).toStringRef();
  return fallback;
}

void LoadedModule::need_methods(const std::vector<std::string>& methods) const {
  for (const std::string& method : methods) {
    if (module.find_method(method)) continue;
    throw Error(ErrorCode::ModelMismatch, path + " has no method '" + method + "'.",
                "docs/models.md lists the methods that a model of this kind needs.");
  }
}

at::Tensor LoadedModule::input(const at::Tensor& input, const std::vector<std::int64_t>& trailing,
                               const char* what) const {
  bool fits = input.defined() && input.dim() == static_cast<std::int64_t>(trailing.size()) + 1 && input.size(0) > 0;
  for (std::size_t i = 0; fits && i < trailing.size(); ++i) {
    const std::int64_t size = input.size(static_cast<std::int64_t>(i) + 1);
    fits = trailing[i] < 0 ? size > 0 : size == trailing[i];
  }
  if (!fits) {
    std::string wanted = "[n";
    for (const std::int64_t size : trailing) wanted += size < 0 ? ", any" : ", " + std::to_string(size);
    throw Error(ErrorCode::Shape,
                std::string(what) + " has shape " + (input.defined() ? shape_text(input.sizes()) : "none") + ", not " +
                    wanted + "].",
                "Give " + std::string(what) + " of shape " + wanted + "], n at least 1.");
  }
  return input.to(place, at::kFloat);
}

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

const ArchiveDescription& Model::description() const { return impl_->description; }
const std::string& Model::device() const { return impl_->device; }
const std::string& Model::dtype() const { return impl_->dtype; }
const std::string& Model::sha256() const { return impl_->sha256; }

std::int64_t Model::memory_bytes() const {
  std::int64_t bytes = 0;
  for (const auto& [name, tensor] : module_tensors(impl_->module)) bytes += static_cast<std::int64_t>(tensor.nbytes());
  return bytes;
}

std::map<std::string, at::Tensor> Model::tensors() const { return module_tensors(impl_->module); }

std::vector<at::Tensor> Model::run_method(const std::string& name, const std::vector<at::Tensor>& inputs) {
  const auto method = impl_->module.find_method(name);
  if (!method) {
    std::string names;
    for (const auto& one : impl_->module.get_methods()) names += (names.empty() ? "" : ", ") + one.name();
    throw Error(ErrorCode::Argument, impl_->path + " has no method '" + name + "'.", "It has: " + names + ".");
  }
  std::vector<at::Tensor> placed;
  placed.reserve(inputs.size());
  for (const at::Tensor& input : inputs) placed.push_back(input.to(impl_->place));
  // Arguments after `self`: one list takes all the tensors, otherwise each argument takes one.
  const auto& arguments = method->function().getSchema().arguments();
  const bool list = arguments.size() == 2 && arguments[1].type()->kind() == c10::TypeKind::ListType;
  if (!list && arguments.size() != placed.size() + 1) {
    throw Error(ErrorCode::Argument,
                "Method '" + name + "' takes " + std::to_string(arguments.size() - 1) + " tensors, not " +
                    std::to_string(placed.size()) + ".",
                "Give one file or array for each argument.");
  }
  std::vector<c10::IValue> values;
  if (list) {
    values.emplace_back(c10::List<at::Tensor>(placed));
  } else {
    for (const at::Tensor& tensor : placed) values.emplace_back(tensor);
  }
  std::vector<at::Tensor> out;
  try {
    flatten_into(impl_->call(name, std::move(values)), out, name);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Internal) throw;
    throw Error(ErrorCode::Argument, "Method '" + name + "' of " + impl_->path + " fails on these inputs.",
                "Check their shapes and types (docs/models.md).", error.cause());
  }
  return out;
}

std::shared_ptr<Model> load_module(const std::string& path, const LoadOptions& options) {
  return AnyModel::load(path, options);
}

}  // namespace styleclip
