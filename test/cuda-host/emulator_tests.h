#pragma once

#include <string>

namespace styleclip::checks {

/// Tests of the emulator itself.
void check_emulator();

/// Runs a kernel with a fault that a sanitizer must report: "race" (a barrier is missing) or "overrun" (reads beyond
/// shared memory).
void run_faulty_kernel(const std::string& which);

}  // namespace styleclip::checks
