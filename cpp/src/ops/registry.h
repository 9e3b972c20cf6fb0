// What an operator's C++ entry needs from the registry: its handle, and whether the reference was forced.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/Device.h>

#include <string>

namespace styleclip {

/// Handle of styleclip::<op>, registering the operators first where that has not happened yet.
c10::OperatorHandle find_operator(const char* op);

/// True when force_implementation chose "reference". Throws Argument when it chose one that cannot run on `device`.
bool use_reference(const std::string& op, c10::Device device);
/// The same for where a tensor is. True for one that is missing: it has no device, and the reference refuses it.
bool use_reference(const std::string& op, const at::Tensor& tensor);

/// Path of the library or program that holds this code, as the dynamic linker knows it.
std::string own_library_path();

}  // namespace styleclip
