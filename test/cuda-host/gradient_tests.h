// The kernels of the operators with gradients on the CPU.
#pragma once

#include "gradient_cases.h"

namespace styleclip::checks {

void check_gradient_operators(cases::Table table);

}  // namespace styleclip::checks
