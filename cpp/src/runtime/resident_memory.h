// Resident memory of this process, as Linux counts it: what benchmarks and tests measure.
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "styleclip/error.h"

namespace styleclip {

/// A line of /proc/self/status in bytes: "VmRSS" is the resident memory now, "VmHWM" its peak. Throws Platform.
inline std::int64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string word;
    std::int64_t kib = 0;
    if (words >> word >> kib && word == key + ":") return kib * 1024;
  }
  throw Error(ErrorCode::Platform, "/proc/self/status has no " + key + ".", "Measure memory on Linux.");
}

/// Bytes resident now; the peak starts anew here. Throws Platform.
inline std::int64_t start_peak() {
  std::ofstream("/proc/self/clear_refs") << "5" << std::flush;
  return status_bytes("VmRSS");
}

/// The most that was resident since then. Throws Platform.
inline std::int64_t peak_bytes() { return status_bytes("VmHWM"); }

}  // namespace styleclip
