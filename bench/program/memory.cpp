#include "memory.h"

#include <fstream>
#include <sstream>
#include <string>

#include "styleclip/error.h"

namespace styleclip::bench {
namespace {

// A line of /proc/self/status in bytes: "VmRSS" is the resident memory now, "VmHWM" its peak.
std::int64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string word;
    std::int64_t kib = 0;
    if (words >> word >> kib && word == key + ":") return kib * 1024;
  }
  throw Error(ErrorCode::Platform, "/proc/self/status has no " + key + ".", "Measure memory on Linux.");
}

}  // namespace

std::int64_t start_peak() {
  std::ofstream("/proc/self/clear_refs") << "5" << std::flush;
  return status_bytes("VmRSS");
}

std::int64_t peak_bytes() { return status_bytes("VmHWM"); }

}  // namespace styleclip::bench
