// The readable implementations of add_to_canvas and activate_to_canvas, the checks that all of them share, and the calls
// of the operators.
#include "ops/add_to_canvas.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>

#include "ops/arguments.h"
#include "ops/registry.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

void check(Arguments& arguments, const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias,
           double rgb_limit, const at::Tensor& matrix, const at::Tensor& canvas) {
  arguments.activations("y", y);
  arguments.floats("weight", weight, {3, y.size(1)});
  arguments.floats("rgb_bias", rgb_bias, {3});
  arguments.limit("rgb_limit", rgb_limit);
  arguments.canvas(canvas, matrix, y.size(0), y.size(2));
}

}  // namespace

void add_picture(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                 const at::Tensor& matrix, at::Tensor& canvas) {
  const at::Tensor dots = at::matmul(y.permute({0, 2, 3, 1}), weight.to(at::kDouble).t());  // [n, r, r, 3]
  at::Tensor rgb = (dots + rgb_bias.to(at::kDouble)).clamp(-rgb_limit, rgb_limit).permute({0, 3, 1, 2});
  if (matrix.defined()) {
    const at::Tensor m = matrix.to(at::kDouble);
    rgb = at::matmul(at::matmul(m, rgb), m.t());
  }
  canvas.copy_(canvas.to(at::kDouble) + rgb);
}

void check_add_to_canvas(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                         const at::Tensor& matrix, const at::Tensor& canvas) {
  Arguments arguments(kAddToCanvas);
  check(arguments, y, weight, rgb_bias, rgb_limit, matrix, canvas);
}

void check_activate_to_canvas(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                              const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                              const at::Tensor& matrix, const at::Tensor& canvas) {
  Arguments arguments(kActivateToCanvas);
  check(arguments, y, weight, rgb_bias, rgb_limit, matrix, canvas);
  arguments.floats("bias", bias, {y.size(1)});
  arguments.optional_floats("noise", noise, {y.size(2), y.size(2)});
  arguments.limit("limit", limit);
}

void add_to_canvas_reference(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias,
                             double rgb_limit, const at::Tensor& matrix, at::Tensor& canvas) {
  check_add_to_canvas(y, weight, rgb_bias, rgb_limit, matrix, canvas);
  add_picture(y.to(at::kDouble), weight, rgb_bias, rgb_limit, matrix, canvas);
}

void activate_to_canvas_reference(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                                  const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                                  const at::Tensor& matrix, at::Tensor& canvas, bool keep) {
  check_activate_to_canvas(y, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas);
  const at::Tensor active = activated(y.to(at::kDouble), bias, noise, limit);
  add_picture(active, weight, rgb_bias, rgb_limit, matrix, canvas);
  if (keep) y.copy_(active);
}

void add_to_canvas(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                   const at::Tensor& matrix, at::Tensor& canvas) {
  if (use_reference(kAddToCanvas, y)) {
    return add_to_canvas_reference(y, weight, rgb_bias, rgb_limit, matrix, canvas);
  }
  static const auto op = find_operator(kAddToCanvas).typed<AddToCanvasSignature>();
  op.call(y, weight, rgb_bias, rgb_limit, optional(matrix), canvas);
}

void activate_to_canvas(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                        const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                        const at::Tensor& matrix, at::Tensor& canvas, bool keep) {
  if (use_reference(kActivateToCanvas, y)) {
    return activate_to_canvas_reference(y, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas, keep);
  }
  static const auto op = find_operator(kActivateToCanvas).typed<ActivateToCanvasSignature>();
  op.call(y, bias, optional(noise), limit, weight, rgb_bias, rgb_limit, optional(matrix), canvas, keep);
}

}  // namespace styleclip
