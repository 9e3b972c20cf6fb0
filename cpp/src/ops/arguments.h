// What the operators of the exact sweep share: the checks of their arguments, and the end of a layer in tensor algebra.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

namespace styleclip {

/// Checks the arguments of one operator. Every fault is an Error that names the operator and the argument: Shape for sizes,
/// Argument for types, devices, layouts and numbers.
class Arguments {
 public:
  explicit Arguments(const char* op) : op_(op) {}

  /// [n, channels, r, r] in float32, float16 or bfloat16, channels last without gaps, on the device that all others must be
  /// on. The first one to be checked.
  void activations(const char* name, const at::Tensor& tensor);
  /// Of this shape, of the activations' type, channels last without gaps, as they are.
  void like(const char* name, const at::Tensor& tensor, at::IntArrayRef shape, const at::Tensor& activations) const;
  /// float32 of this shape.
  void floats(const char* name, const at::Tensor& tensor, at::IntArrayRef shape) const;
  /// float32 of this shape, or undefined.
  void optional_floats(const char* name, const at::Tensor& tensor, at::IntArrayRef shape) const;
  /// canvas [n, 3, size, size], float32, contiguous, and matrix [size, r] or undefined (then size is r).
  void canvas(const at::Tensor& canvas, const at::Tensor& matrix, std::int64_t n, std::int64_t r) const;
  /// 0 or above, infinity included; not NaN.
  void limit(const char* name, double limit) const;

  [[noreturn]] void refuse_shape(const std::string& message) const;
  [[noreturn]] void refuse(const std::string& message) const;

 private:
  void require_shape(const char* name, const at::Tensor& tensor, at::IntArrayRef shape) const;

  const char* op_;
  std::optional<at::Device> device_;
};

/// clamp(leaky_relu(x + noise + bias, 0.2), ±limit) of x [n, channels, r, r] float64. NaN stays NaN.
at::Tensor activated(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& noise, double limit);

/// What the dispatcher takes for an argument that may be undefined.
inline std::optional<at::Tensor> optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

}  // namespace styleclip
