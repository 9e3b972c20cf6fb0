#include "ops/arguments.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/leaky_relu.h>

#include "styleclip/error.h"

namespace styleclip {

void Arguments::refuse_shape(const std::string& message) const {
  throw Error(ErrorCode::Shape, std::string(op_) + ": " + message,
              "Activations are [n, channels, r, r]; the other shapes stand in styleclip/ops.h.");
}

void Arguments::refuse(const std::string& message) const {
  throw Error(
      ErrorCode::Argument, std::string(op_) + ": " + message,
      "Activations are float32, float16 or bfloat16, channels last without gaps; everything else is float32; all "
      "on one device (styleclip/ops.h).");
}

void Arguments::activations(const char* name, const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.dim() != 4 || tensor.size(2) != tensor.size(3)) {
    refuse_shape(std::string(name) + " is not [n, channels, r, r].");
  }
  const at::ScalarType type = tensor.scalar_type();
  if (type != at::kFloat && type != at::kHalf && type != at::kBFloat16) {
    refuse(std::string(name) + " is neither float32 nor float16 nor bfloat16.");
  }
  if (!tensor.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    refuse(std::string(name) + " does not lie channels last without gaps.");
  }
  if (device_ && *device_ != tensor.device()) refuse(std::string(name) + " is on another device.");
  device_ = tensor.device();
}

void Arguments::require_shape(const char* name, const at::Tensor& tensor, at::IntArrayRef shape) const {
  if (tensor.defined() && tensor.sizes() == shape) return;
  std::string sizes;
  for (const std::int64_t size : shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  refuse_shape(std::string(name) + " is not [" + sizes + "].");
}

void Arguments::like(const char* name, const at::Tensor& tensor, at::IntArrayRef shape,
                     const at::Tensor& activations) const {
  require_shape(name, tensor, shape);
  if (tensor.scalar_type() != activations.scalar_type())
    refuse(std::string(name) + " is not of the activations' type.");
  if (!tensor.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    refuse(std::string(name) + " does not lie channels last without gaps.");
  }
  if (tensor.device() != activations.device()) refuse(std::string(name) + " is on another device.");
}

void Arguments::floats(const char* name, const at::Tensor& tensor, at::IntArrayRef shape) const {
  require_shape(name, tensor, shape);
  if (tensor.scalar_type() != at::kFloat) refuse(std::string(name) + " is not float32.");
  if (device_ && *device_ != tensor.device()) refuse(std::string(name) + " is on another device.");
}

void Arguments::optional_floats(const char* name, const at::Tensor& tensor, at::IntArrayRef shape) const {
  if (tensor.defined()) floats(name, tensor, shape);
}

void Arguments::canvas(const at::Tensor& canvas, const at::Tensor& matrix, std::int64_t n, std::int64_t r) const {
  std::int64_t size = r;
  if (matrix.defined()) {
    if (matrix.dim() != 2) refuse_shape("matrix is not [size, r].");
    size = matrix.size(0);
    floats("matrix", matrix, {size, r});
  }
  floats("canvas", canvas, {n, 3, size, size});
  if (!canvas.is_contiguous()) refuse("canvas has gaps or another order in memory.");
}

void Arguments::limit(const char* name, double limit) const {
  if (!(limit >= 0)) refuse(std::string(name) + " is below zero or not a number.");
}

at::Tensor activated(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& noise, double limit) {
  at::Tensor sum = x + bias.to(at::kDouble).view({1, -1, 1, 1});
  if (noise.defined()) sum = sum + noise.to(at::kDouble);
  return at::leaky_relu(sum, 0.2).clamp(-limit, limit);
}

}  // namespace styleclip
