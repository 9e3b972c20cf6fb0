// From a blueprint and its tensors to a TorchScript module, and the changes of dtype that modules go through.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <functional>
#include <string>

#include "models/spec.h"
#include "models/tensors.h"

namespace styleclip {

/// Modules of equal structure and code share one TorchScript class, so a transformer of 24 blocks compiles one.
torch::jit::Module build_module(const Blueprint& blueprint, const TensorMap& tensors);

/// Parameters and buffers under their full names, the module's own tensors.
TensorMap module_tensors(const torch::jit::Module& module);

/// Converts every floating tensor to `dtype` (float32 where runs_in_float32 or `also_float32` says so) and takes gradients
/// off.
void convert_module(torch::jit::Module& module, const std::string& kind, at::ScalarType dtype,
                    const std::function<bool(const std::string& name)>& also_float32 = {});

}  // namespace styleclip
