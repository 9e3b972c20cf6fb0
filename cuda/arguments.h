// What the registrations share: the checks of an operator's arguments, and what the kernels' params take from tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "element.h"

namespace styleclip::cuda {

using Optional = std::optional<at::Tensor>;

/// Of a tensor that Arguments has checked.
inline Element element_of(at::ScalarType type) {
  switch (type) {
    case at::kHalf: return Element::kFloat16;
    case at::kBFloat16: return Element::kBFloat16;
    default: return Element::kFloat32;
  }
}

/// The numbers of a float32 tensor; null where there is none.
inline const float* pointer(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

/// Validates the arguments of one operator. Throws ValueError or TypeError that names the operator and the argument.
class Arguments {
 public:
  /// All arguments are on `first`'s device.
  Arguments(const char* op, const at::Tensor& first) : op_(op), device_(first.device()) {}

  /// Of a type that the kernels read and write.
  void element(const char* name, const at::Tensor& tensor) const {
    const at::ScalarType type = tensor.scalar_type();
    TORCH_CHECK_TYPE(type == at::kFloat || type == at::kHalf || type == at::kBFloat16, op_, ": ", name, " is ", type,
                     ", not float32, float16 or bfloat16");
    device(name, tensor);
  }
  /// The same, of so many dimensions.
  void element(const char* name, const at::Tensor& tensor, std::int64_t dimensions) const {
    TORCH_CHECK_VALUE(tensor.dim() == dimensions, op_, ": ", name, " is ", tensor.sizes(), ", not of ", dimensions,
                      " dimensions");
    element(name, tensor);
  }
  /// Of this shape and type, as it lies.
  const at::Tensor& placed(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes,
                           at::ScalarType type) const {
    TORCH_CHECK_VALUE(tensor.sizes() == sizes, op_, ": ", name, " is ", tensor.sizes(), ", not ", sizes);
    TORCH_CHECK_TYPE(tensor.scalar_type() == type, op_, ": ", name, " is ", tensor.scalar_type(), ", not ", type);
    device(name, tensor);
    return tensor;
  }
  /// float32 of this shape; without gaps, copied where it has some.
  at::Tensor floats(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes) const {
    return placed(name, tensor, sizes, at::kFloat).contiguous();
  }
  at::Tensor optional_floats(const char* name, const Optional& tensor, at::IntArrayRef sizes) const {
    return tensor && tensor->defined() ? floats(name, *tensor, sizes) : at::Tensor();
  }
  float limit(const char* name, double value) const {
    TORCH_CHECK_VALUE(value >= 0, op_, ": ", name, " is ", value);
    return static_cast<float>(value);
  }

 protected:
  const char* op() const { return op_; }

 private:
  void device(const char* name, const at::Tensor& tensor) const {
    TORCH_CHECK_VALUE(tensor.device() == device_, op_, ": ", name, " is on ", tensor.device(), ", not on ", device_);
  }

  const char* op_;
  at::Device device_;
};

}  // namespace styleclip::cuda
