// What the operators with gradients share (styleclip/ops.h, second half): the checks of their arguments, and the ways
// between autograd and the implementations. An operator is three things:
//
//   its C++ entry            makes an autograd node where a gradient is asked for, else calls the implementation
//   the node                 calls one operator forwards, another one backwards
//   those two operators      dispatched by device, or the reference where that is forced; both below autograd
//
// The entry is also what the dispatcher's Autograd key runs, so a call by the operator's name has gradients too.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <array>
#include <initializer_list>
#include <optional>
#include <string>

#include "ops/arguments.h"
#include "ops/registry.h"

namespace styleclip {

/// Checks the arguments of one operator; faults as in Arguments. The first tensor is float64, float32, float16 or bfloat16;
/// the others are float64 beside float64 and else float32, which is also what everything is computed in.
class DifferentiableArguments {
 public:
  explicit DifferentiableArguments(const char* op) : op_(op) {}

  /// The first one to be checked: `dimensions` of them, any strides. `shape` is what a message calls it.
  void first(const char* name, const at::Tensor& tensor, std::int64_t dimensions, const char* shape);
  /// Of the first one's type, device and sizes.
  void alike(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes) const;
  /// Of the companions' type.
  void companion(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes) const;
  void optional_companion(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes) const;
  /// Undefined, [h, w] or [n, h, w].
  void noise(const at::Tensor& tensor, std::int64_t n, std::int64_t h, std::int64_t w) const;
  /// 0 or above, infinity included; not NaN.
  void limit(double limit) const;
  /// No gradient goes to this one: refuses a tensor that asks for one while gradients are recorded.
  static void constant(const char* op, const char* name, const at::Tensor& tensor);

  [[noreturn]] void refuse_shape(const std::string& message) const;
  [[noreturn]] void refuse(const std::string& message) const;

 private:
  void placed(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes, at::ScalarType type) const;

  const char* op_;
  std::optional<at::Device> device_;
  at::ScalarType type_ = at::kFloat, companion_ = at::kFloat;
};

/// float64 for float64, else float32.
inline at::ScalarType companion_type(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

/// True where a gradient is recorded and one of these asks for it.
bool records_gradient(std::initializer_list<const at::Tensor*> tensors);
inline bool wants_gradient(const at::Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); }

/// Throws Argument when a backward pass is itself to be differentiated: `op` has first derivatives only.
void require_first_derivative(const char* op);

/// Whether the reference runs these tensors: forced, or float64 elsewhere than on a CPU, for which there are no kernels.
bool runs_reference(const char* op, const at::Tensor& tensor);

/// What clamps y in its own type: `limit` through float32 where y is narrower, so that every implementation stores, and
/// the backward pass meets, the same number.
double limit_of(at::ScalarType type, double limit);

inline at::Tensor plain_tensor(const std::optional<at::Tensor>& tensor) { return tensor.value_or(at::Tensor()); }

}  // namespace styleclip
