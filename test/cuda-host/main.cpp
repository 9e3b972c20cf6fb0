// Tests of the kernels on the CPU. Built plain, with AddressSanitizer and UndefinedBehaviorSanitizer, and with
// ThreadSanitizer, where threads are real; the sanitizers get smaller tables. `race`, `overrun` and `dynamic-overrun` as
// the argument run a faulty kernel instead, which the sanitizer must report.
#include <cstdio>
#include <string>

#include "accumulate_directions_tests.h"
#include "checks.h"
#include "cuda_host.h"
#include "emulator_tests.h"
#include "far_tests.h"
#include "gradient_tests.h"
#include "resize_tests.h"
#include "sweep_tests.h"

int main(int count, char** arguments) {
  using styleclip::cases::Table;
#if defined(__SANITIZE_THREAD__)
  constexpr Table kTable = Table::kThreads;
#elif defined(__SANITIZE_ADDRESS__)
  constexpr Table kTable = Table::kBounds;
#else
  constexpr Table kTable = Table::kAll;
#endif
  cuda_host::options().real_threads = kTable == Table::kThreads;
  try {
    if (count > 1) {
      styleclip::checks::run_faulty_kernel(arguments[1]);
      return 0;
    }
    styleclip::checks::check_emulator();
    styleclip::checks::check_accumulate_directions(kTable);
    styleclip::checks::check_sweep_operators(kTable);
    if (kTable != Table::kThreads) styleclip::checks::check_far_elements();
    styleclip::checks::check_gradient_operators(kTable);
    styleclip::checks::check_resize_8bit_kernel();
  } catch (const std::exception& error) {
    styleclip::checks::check(false, std::string("unexpected: ") + error.what());
  }
  return styleclip::checks::summary();
}
