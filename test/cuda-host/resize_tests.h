#pragma once

namespace styleclip::checks {

/// The kernel of resize_8bit on the CPU, over its table of cases.
void check_resize_8bit_kernel();

}  // namespace styleclip::checks
