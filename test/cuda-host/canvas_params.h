// What the operators that add to a canvas are launched with, as far as a case says it.
#pragma once

#include "add_to_canvas.h"
#include "convolve_to_canvas.h"
#include "sweep_cases.h"
#include "typed_memory.h"

namespace styleclip::checks {

/// y, the canvas, the scratch memory, the number of pictures and y's type are left to the caller.
inline cuda::AddToCanvasParams canvas_params(const cases::sweep::Case& which, const cases::sweep::Inputs& in) {
  cuda::AddToCanvasParams params;
  params.weight = pointer(in.weight);
  params.rgb_bias = pointer(in.rgb_bias);
  params.matrix = pointer(in.matrix);
  params.rgb_limit = static_cast<float>(in.rgb_limit);
  params.activates = which.op == cases::sweep::Op::kActivateToCanvas;
  params.keep = which.keep;
  params.bias = pointer(in.bias);
  params.noise = pointer(in.noise);
  params.limit = static_cast<float>(in.limit);
  params.side = which.r;
  params.channels = which.channels;
  params.size = cases::sweep::canvas_side(which);
  return params;
}

/// x, the weights, y and the rest are left to the caller.
inline cuda::ConvolveToCanvasParams convolution_params(const cases::sweep::Case& which,
                                                       const cases::sweep::Inputs& in) {
  cuda::ConvolveToCanvasParams params;
  params.bias = pointer(in.bias);
  params.noise = pointer(in.noise);
  params.limit = static_cast<float>(in.limit);
  params.rgb_weight = pointer(in.weight);
  params.rgb_bias = pointer(in.rgb_bias);
  params.rgb_limit = static_cast<float>(in.rgb_limit);
  params.matrix = pointer(in.matrix);
  params.side = which.r;
  params.size = cases::sweep::canvas_side(which);
  params.inputs = which.inputs;
  params.outputs = which.channels;
  return params;
}

}  // namespace styleclip::checks
