// The tests' own few lines of harness: counts, and says what failed.
#pragma once

#include <cstdio>
#include <exception>
#include <string>

namespace styleclip::checks {

inline int passed = 0, failed = 0;

inline void check(bool holds, const std::string& what) {
  ++(holds ? passed : failed);
  if (!holds) std::printf("FAILED: %s\n", what.c_str());
}

/// The function must throw an Exception whose text contains `part`.
template <typename Exception, typename Function>
void check_throws(const Function& function, const std::string& part, const std::string& what) {
  try {
    function();
    check(false, what + ": nothing was thrown");
  } catch (const Exception& error) {
    check(std::string(error.what()).find(part) != std::string::npos, what + ": \"" + error.what() + "\"");
  }
}

/// The last line of a test program, and its exit status.
inline int summary() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace styleclip::checks
