// Tests of the kernels on the CPU. Built plain, with AddressSanitizer and UndefinedBehaviorSanitizer, and with
// ThreadSanitizer, where threads are real and the tables small. `race` and `overrun` as the argument run a faulty
// kernel instead, which the sanitizer must report.
#include <cstdio>
#include <string>

#include "accumulate_directions_tests.h"
#include "checks.h"
#include "cuda_host.h"
#include "emulator_tests.h"
#include "sweep_tests.h"

int main(int count, char** arguments) {
#if defined(__SANITIZE_THREAD__)
  constexpr bool kThreads = true;
#else
  constexpr bool kThreads = false;
#endif
  cuda_host::options().real_threads = kThreads;
  try {
    if (count > 1) {
      styleclip::checks::run_faulty_kernel(arguments[1]);
      return 0;
    }
    styleclip::checks::check_emulator();
    styleclip::checks::check_accumulate_directions(kThreads);
    styleclip::checks::check_sweep_operators(kThreads);
  } catch (const std::exception& error) {
    styleclip::checks::check(false, std::string("unexpected: ") + error.what());
  }
  return styleclip::checks::summary();
}
