#pragma once

namespace styleclip::checks {

/// The kernel's table of cases; `small`: those for real threads.
void check_accumulate_directions(bool small);

}  // namespace styleclip::checks
