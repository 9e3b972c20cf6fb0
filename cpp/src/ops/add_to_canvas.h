// The implementations of styleclip::add_to_canvas and styleclip::activate_to_canvas (schemas and meaning:
// styleclip/ops.h). NaN and infinity reach every canvas pixel that their own pixel has a share in; implementations that
// multiply by the zeros of the matrix too spread NaN further, over the same picture.
//
// With a y of float16 or bfloat16, activate_to_canvas may multiply the activation before or after it is rounded to y's
// type: the two differ by that rounding.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "ops/instructions_cpu.h"

namespace styleclip {

inline constexpr char kAddToCanvas[] = "add_to_canvas";
inline constexpr char kAddToCanvasSchema[] =
    "add_to_canvas(Tensor y, Tensor weight, Tensor rgb_bias, float rgb_limit, Tensor? matrix, Tensor(a!) canvas) -> ()";
using AddToCanvasSignature = void(const at::Tensor&, const at::Tensor&, const at::Tensor&, double,
                                  const std::optional<at::Tensor>&, at::Tensor&);

inline constexpr char kActivateToCanvas[] = "activate_to_canvas";
inline constexpr char kActivateToCanvasSchema[] =
    "activate_to_canvas(Tensor(a!) y, Tensor bias, Tensor? noise, float limit, Tensor weight, Tensor rgb_bias, "
    "float rgb_limit, Tensor? matrix, Tensor(b!) canvas, bool keep) -> ()";
using ActivateToCanvasSignature = void(at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, double,
                                       const at::Tensor&, const at::Tensor&, double, const std::optional<at::Tensor>&,
                                       at::Tensor&, bool);

/// Throw Error Shape or Argument when the arguments do not fit one another.
void check_add_to_canvas(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                         const at::Tensor& matrix, const at::Tensor& canvas);
void check_activate_to_canvas(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                              const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                              const at::Tensor& matrix, const at::Tensor& canvas);

/// canvas += matrix clamp(weight y + rgb_bias, ±rgb_limit) matrixᵀ of y [n, channels, r, r] float64, unchecked.
void add_picture(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                 const at::Tensor& matrix, at::Tensor& canvas);

/// Plain tensor algebra in float64, on any device.
void add_to_canvas_reference(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias,
                             double rgb_limit, const at::Tensor& matrix, at::Tensor& canvas);
void activate_to_canvas_reference(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                                  const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                                  const at::Tensor& matrix, at::Tensor& canvas, bool keep);
/// One pass over y; then the lines it leaves are summed downwards. Both in parallel, in an order that does not depend on
/// the number of threads.
void add_to_canvas_cpu(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                       const at::Tensor& matrix, at::Tensor& canvas);
void activate_to_canvas_cpu(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                            const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                            const at::Tensor& matrix, at::Tensor& canvas, bool keep);

/// With the loops of one instruction set; by default the widest.
void add_to_canvas_by(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                      const at::Tensor& matrix, at::Tensor& canvas, Instructions instructions);
void activate_to_canvas_by(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                           const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                           const at::Tensor& matrix, at::Tensor& canvas, bool keep, Instructions instructions);

}  // namespace styleclip
