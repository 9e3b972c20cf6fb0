// The implementations of convolve_to_canvas without CUDA, both compositions of what there is, the check that all of
// them share, and the call of the operator.
#include "ops/convolve_to_canvas.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>

#include "ops/add_to_canvas.h"
#include "ops/arguments.h"
#include "ops/registry.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

at::Tensor convolved(const at::Tensor& x, const at::Tensor& kernel, at::ScalarType type) {
  return at::conv2d(x.to(type), kernel.to(type), {}, 1, 1).contiguous(at::MemoryFormat::ChannelsLast);
}

// y is written where it is asked for, though the tensor's handle is constant, as the dispatcher has it.
void write(const at::Tensor& y, const at::Tensor& active) {
  if (y.defined()) y.copy_(active);
}

}  // namespace

bool takes_convolution(at::ScalarType type, std::int64_t inputs, std::int64_t outputs) {
  const auto takes = [](std::int64_t channels) { return channels > 0 && channels <= 64 && channels % 16 == 0; };
  return (type == at::kHalf || type == at::kBFloat16) && takes(inputs) && takes(outputs);
}

void check_convolve_to_canvas(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias,
                              const at::Tensor& noise, double limit, const at::Tensor& weight,
                              const at::Tensor& rgb_bias, double rgb_limit, const at::Tensor& matrix,
                              const at::Tensor& canvas, const at::Tensor& y) {
  Arguments arguments(kConvolveToCanvas);
  arguments.activations("x", x);
  const std::int64_t n = x.size(0), inputs = x.size(1), r = x.size(2);
  const std::int64_t outputs = kernel.defined() && kernel.dim() == 4 ? kernel.size(0) : 0;
  arguments.like("kernel", kernel, {outputs, inputs, 3, 3}, x);
  if (!takes_convolution(x.scalar_type(), inputs, outputs)) {
    arguments.refuse("x is neither float16 nor bfloat16, or inputs and outputs are not 16, 32, 48 or 64.");
  }
  arguments.floats("bias", bias, {outputs});
  if (y.defined()) arguments.like("y", y, {n, outputs, r, r}, x);
  arguments.optional_floats("noise", noise, {r, r});
  arguments.limit("limit", limit);
  arguments.floats("weight", weight, {3, outputs});
  arguments.floats("rgb_bias", rgb_bias, {3});
  arguments.limit("rgb_limit", rgb_limit);
  arguments.canvas(canvas, matrix, n, r);
}

void convolve_to_canvas_reference(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias,
                                  const at::Tensor& noise, double limit, const at::Tensor& weight,
                                  const at::Tensor& rgb_bias, double rgb_limit, const at::Tensor& matrix,
                                  at::Tensor& canvas, const at::Tensor& y) {
  check_convolve_to_canvas(x, kernel, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas, y);
  const at::Tensor active = activated(convolved(x, kernel, at::kDouble), bias, noise, limit);
  add_picture(active, weight, rgb_bias, rgb_limit, matrix, canvas);
  write(y, active);
}

void convolve_to_canvas_cpu(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias,
                            const at::Tensor& noise, double limit, const at::Tensor& weight, const at::Tensor& rgb_bias,
                            double rgb_limit, const at::Tensor& matrix, at::Tensor& canvas, const at::Tensor& y) {
  check_convolve_to_canvas(x, kernel, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas, y);
  at::Tensor active = convolved(x, kernel, at::kFloat);
  activate_to_canvas_cpu(active, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas, y.defined());
  write(y, active);
}

void convolve_to_canvas(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias, const at::Tensor& noise,
                        double limit, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                        const at::Tensor& matrix, at::Tensor& canvas, const at::Tensor& y) {
  if (use_reference(kConvolveToCanvas, x)) {
    return convolve_to_canvas_reference(x, kernel, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas, y);
  }
  static const auto op = find_operator(kConvolveToCanvas).typed<ConvolveToCanvasSignature>();
  op.call(x, kernel, bias, optional(noise), limit, weight, rgb_bias, rgb_limit, optional(matrix), canvas, optional(y));
}

}  // namespace styleclip
