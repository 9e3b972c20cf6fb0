#include "ops/differentiable.h"

#include <algorithm>
#include <cmath>

#include "styleclip/error.h"

namespace styleclip {
namespace {

std::string text(at::IntArrayRef sizes) {
  std::string all;
  for (const std::int64_t size : sizes) all += (all.empty() ? "" : ", ") + std::to_string(size);
  return "[" + all + "]";
}

}  // namespace

void DifferentiableArguments::refuse_shape(const std::string& message) const {
  throw Error(ErrorCode::Shape, std::string(op_) + ": " + message, "The shapes stand in styleclip/ops.h.");
}

void DifferentiableArguments::refuse(const std::string& message) const {
  throw Error(
      ErrorCode::Argument, std::string(op_) + ": " + message,
      "The first tensor is float64, float32, float16 or bfloat16; the others are float64 beside float64 and else "
      "float32; all on one device (styleclip/ops.h).");
}

void DifferentiableArguments::first(const char* name, const at::Tensor& tensor, std::int64_t dimensions,
                                    const char* shape) {
  if (!tensor.defined() || tensor.dim() != dimensions) refuse_shape(std::string(name) + " is not " + shape + ".");
  const at::ScalarType type = tensor.scalar_type();
  if (type != at::kDouble && type != at::kFloat && type != at::kHalf && type != at::kBFloat16) {
    refuse(std::string(name) + " is neither float64 nor float32 nor float16 nor bfloat16.");
  }
  type_ = type;
  companion_ = companion_type(type);
  device_ = tensor.device();
}

void DifferentiableArguments::placed(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes,
                                     at::ScalarType type) const {
  if (!tensor.defined() || tensor.sizes() != sizes) refuse_shape(std::string(name) + " is not " + text(sizes) + ".");
  if (tensor.scalar_type() != type) {
    refuse(std::string(name) + " is " + c10::toString(tensor.scalar_type()) + ", not " + c10::toString(type) + ".");
  }
  if (device_ && tensor.device() != *device_) refuse(std::string(name) + " is on another device.");
}

void DifferentiableArguments::alike(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes) const {
  placed(name, tensor, sizes, type_);
}

void DifferentiableArguments::companion(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes) const {
  placed(name, tensor, sizes, companion_);
}

void DifferentiableArguments::optional_companion(const char* name, const at::Tensor& tensor,
                                                 at::IntArrayRef sizes) const {
  if (tensor.defined()) companion(name, tensor, sizes);
}

void DifferentiableArguments::noise(const at::Tensor& tensor, std::int64_t n, std::int64_t h, std::int64_t w) const {
  if (!tensor.defined()) return;
  if (tensor.dim() == 3) {
    companion("noise", tensor, {n, h, w});
  } else {
    companion("noise", tensor, {h, w});
  }
}

void DifferentiableArguments::limit(double limit) const {
  if (!(limit >= 0)) refuse("limit is below zero or not a number.");
}

void DifferentiableArguments::constant(const char* op, const char* name, const at::Tensor& tensor) {
  if (!at::GradMode::is_enabled() || !wants_gradient(tensor)) return;
  throw Error(ErrorCode::Argument, std::string(op) + ": " + name + " asks for a gradient, which it does not get.",
              "Detach it.");
}

bool records_gradient(std::initializer_list<const at::Tensor*> tensors) {
  return at::GradMode::is_enabled() &&
         std::any_of(tensors.begin(), tensors.end(), [](const at::Tensor* one) { return wants_gradient(*one); });
}

void require_first_derivative(const char* op) {
  if (!at::GradMode::is_enabled()) return;
  throw Error(ErrorCode::Argument, std::string(op) + ": it has no second derivative.",
              "Differentiate without create_graph.");
}

bool runs_reference(const char* op, const at::Tensor& tensor) {
  return use_reference(op, tensor.device()) || (tensor.scalar_type() == at::kDouble && !tensor.is_cpu());
}

double limit_of(at::ScalarType type, double limit) {
  if (type == at::kDouble || !std::isfinite(limit)) return limit;
  const float rounded = static_cast<float>(limit);
  switch (type) {
    case at::kHalf: return static_cast<float>(c10::Half(rounded));
    case at::kBFloat16: return static_cast<float>(c10::BFloat16(rounded));
    default: return rounded;
  }
}

}  // namespace styleclip
