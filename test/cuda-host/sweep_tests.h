#pragma once

namespace styleclip::checks {

/// The kernels of the exact sweep's operators on the CPU, over their tables of cases.
void check_sweep_operators(bool small);

}  // namespace styleclip::checks
