#pragma once

namespace styleclip::checks {

/// The exact sweep's kernels on activations and canvases of more than 2^31 elements.
void check_far_elements();

}  // namespace styleclip::checks
