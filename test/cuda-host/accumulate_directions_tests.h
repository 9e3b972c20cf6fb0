#pragma once

#include "accumulate_directions_cases.h"

namespace styleclip::checks {

/// The kernel on the CPU, over its table of cases.
void check_accumulate_directions(cases::Table table);

}  // namespace styleclip::checks
