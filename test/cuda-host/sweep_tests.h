#pragma once

#include "accumulate_directions_cases.h"

namespace styleclip::checks {

/// The kernels of the exact sweep's operators on the CPU, over their tables of cases.
void check_sweep_operators(cases::Table table);

}  // namespace styleclip::checks
