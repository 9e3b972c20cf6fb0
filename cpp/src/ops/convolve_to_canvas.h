// The implementations of styleclip::convolve_to_canvas (schema and meaning: styleclip/ops.h). It is made for CUDA's
// tensor cores, at the resolutions where a layer's output is large and its channels are few; elsewhere a convolution
// and then activate_to_canvas are as good.
//
// An implementation may round the convolution, and the activation before it is multiplied, to x's type, or not.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace styleclip {

inline constexpr char kConvolveToCanvas[] = "convolve_to_canvas";
inline constexpr char kConvolveToCanvasSchema[] =
    "convolve_to_canvas(Tensor x, Tensor kernel, Tensor bias, Tensor? noise, float limit, Tensor weight, "
    "Tensor rgb_bias, float rgb_limit, Tensor? matrix, Tensor(a!) canvas, Tensor(b!)? y) -> ()";
using ConvolveToCanvasSignature = void(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                       const std::optional<at::Tensor>&, double, const at::Tensor&, const at::Tensor&,
                                       double, const std::optional<at::Tensor>&, at::Tensor&,
                                       const std::optional<at::Tensor>&);

/// Whether the operator takes such a layer: float16 or bfloat16; 16, 32, 48 or 64 inputs and outputs.
bool takes_convolution(at::ScalarType type, std::int64_t inputs, std::int64_t outputs);

/// Throws Error Shape or Argument when the arguments do not fit one another, or are not what the operator takes.
void check_convolve_to_canvas(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias,
                              const at::Tensor& noise, double limit, const at::Tensor& weight,
                              const at::Tensor& rgb_bias, double rgb_limit, const at::Tensor& matrix,
                              const at::Tensor& canvas, const at::Tensor& y);

/// Plain tensor algebra in float64, on any device.
void convolve_to_canvas_reference(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias,
                                  const at::Tensor& noise, double limit, const at::Tensor& weight,
                                  const at::Tensor& rgb_bias, double rgb_limit, const at::Tensor& matrix,
                                  at::Tensor& canvas, const at::Tensor& y);
/// libtorch's convolution in float32, then activate_to_canvas_cpu.
void convolve_to_canvas_cpu(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias,
                            const at::Tensor& noise, double limit, const at::Tensor& weight, const at::Tensor& rgb_bias,
                            double rgb_limit, const at::Tensor& matrix, at::Tensor& canvas, const at::Tensor& y);

}  // namespace styleclip
