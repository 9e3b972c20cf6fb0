// What the two styled layers' autograd nodes share. Apart from styled_activate.h, since few files need autograd's headers.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include "ops/styled_activate.h"

namespace styleclip {

/// Which of a node's inputs (x or t, gain, bias, noise, in this order; those that are not there have no edge) need a gradient.
Wanted wanted_gradients(const torch::autograd::AutogradContext& context, bool has_gain, bool has_noise);

}  // namespace styleclip
