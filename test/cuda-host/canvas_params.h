// What add_to_canvas and activate_to_canvas are launched with, as far as a case says it.
#pragma once

#include "add_to_canvas.h"
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

}  // namespace styleclip::checks
