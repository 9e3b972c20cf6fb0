// The table of cases of the operators with gradients, run through libtorch's autograd on any device.
#pragma once

#include <c10/core/Device.h>

#include <string>
#include <vector>

#include "gradient_cases.h"
#include "operator_cases.h"

namespace styleclip::selfcheck {

/// Every case of one operator, forwards and backwards, with one implementation forced ("reference", "cpu", "cuda").
Outcome run_gradient_operator(cases::gradients::Op op, const std::string& implementation, c10::Device device);

/// Times it, forwards and backwards together, at sizes of the optimiser; results are compared with the reference first, at
/// a small size (an Error on a difference). The bytes of a timing are those that every implementation has to move.
std::vector<Timing> time_gradient_operator(cases::gradients::Op op, const std::string& implementation,
                                           c10::Device device);

}  // namespace styleclip::selfcheck
