// The module tree: one TorchScript module for every prefix of a tensor's dotted name, so that Python's state_dict() of
// the archive has the field's names; code where the blueprint has some.
#include "models/build.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "styleclip/error.h"

namespace styleclip {
namespace {

using torch::jit::Module;

struct Node {
  std::vector<std::pair<std::string, std::unique_ptr<Node>>> children;  // in the blueprint's order
  std::vector<std::pair<std::string, const TensorSpec*>> tensors;

  Node& child(const std::string& name) {
    for (auto& [have, node] : children) {
      if (have == name) return *node;
    }
    return *children.emplace_back(name, std::make_unique<Node>()).second;
  }
};

Node tree_of(const Blueprint& blueprint) {
  Node root;
  for (const TensorSpec& spec : blueprint.tensors) {
    Node* node = &root;
    std::size_t from = 0;
    for (std::size_t dot; (dot = spec.name.find('.', from)) != std::string::npos; from = dot + 1) {
      node = &node->child(spec.name.substr(from, dot - from));
    }
    node->tensors.emplace_back(spec.name.substr(from), &spec);
  }
  return root;
}

class Builder {
 public:
  Builder(const Blueprint& blueprint, const TensorMap& tensors) : blueprint_(blueprint), tensors_(tensors) {}

  Module build(const Node& node, const std::string& path) {
    std::vector<std::pair<std::string, Module>> children;
    children.reserve(node.children.size());
    std::string prefix = path;
    if (!prefix.empty()) prefix += '.';
    for (const auto& [name, child] : node.children) {
      std::string inner = prefix;
      inner += name;
      children.emplace_back(name, build(*child, inner));
    }
    const auto found = blueprint_.code.find(path);
    const CodeSpec code = found == blueprint_.code.end() ? CodeSpec{} : found->second;

    // Two modules with the same key have the same attributes in the same order, and the same code.
    std::string key = code.source;
    for (const auto& [name, value] : code.constants) key += "\n#constant " + name + " " + value.type()->str();
    for (const auto& [name, spec] : node.tensors) key += (spec->buffer ? "\n#buffer " : "\n#parameter ") + name;
    for (const auto& [name, child] : children) {
      key += "\n#module " + name + " " + std::to_string(reinterpret_cast<std::uintptr_t>(child.type().get()));
    }
    const auto known = classes_.find(key);
    if (known != classes_.end()) return instance(known->second, node, code, children);

    Module module(class_name(path));
    for (const auto& [name, value] : code.constants) module.register_attribute(name, value.type(), value);
    for (const auto& [name, spec] : node.tensors) {
      const at::Tensor& tensor = tensors_.at(spec->name);
      spec->buffer ? module.register_buffer(name, tensor) : module.register_parameter(name, tensor, false);
    }
    for (const auto& [name, child] : children) module.register_module(name, child);
    if (!code.source.empty()) module.define(code.source);
    classes_.emplace(key, module);
    return module;
  }

 private:
  Module instance(const Module& like, const Node& node, const CodeSpec& code,
                  const std::vector<std::pair<std::string, Module>>& children) {
    Module module(like._ivalue()->compilation_unit(), like.type());
    for (const auto& [name, value] : code.constants) module.setattr(name, value);
    for (const auto& [name, spec] : node.tensors) module.setattr(name, tensors_.at(spec->name));
    for (const auto& [name, child] : children) module.setattr(name, child._ivalue());
    return module;
  }

  c10::QualifiedName class_name(std::string path) const {
    if (path.empty()) path = blueprint_.kind;
    std::replace(path.begin(), path.end(), '.', '_');
    return c10::QualifiedName("__torch__.styleclip." + path);
  }

  const Blueprint& blueprint_;
  const TensorMap& tensors_;
  std::map<std::string, Module> classes_;
};

}  // namespace

Module build_module(const Blueprint& blueprint, const TensorMap& tensors) {
  const Node root = tree_of(blueprint);
  return Builder(blueprint, tensors).build(root, "");
}

TensorMap module_tensors(const Module& module) {
  TensorMap tensors;
  for (const auto& parameter : module.named_parameters()) tensors[parameter.name] = parameter.value;
  for (const auto& buffer : module.named_buffers()) tensors[buffer.name] = buffer.value;
  return tensors;
}

void convert_module(Module& module, const std::string& kind, at::ScalarType dtype,
                    const std::function<bool(const std::string&)>& also_float32) {
  for (auto& [name, tensor] : module_tensors(module)) {
    if (!tensor.defined()) continue;
    tensor.requires_grad_(false);
    if (!tensor.is_floating_point()) continue;
    const bool single = runs_in_float32(kind, name) || (also_float32 && also_float32(name));
    const at::ScalarType wanted = single ? at::kFloat : dtype;
    if (tensor.scalar_type() != wanted) at::Tensor(tensor).set_data(tensor.to(wanted));
  }
}

}  // namespace styleclip
