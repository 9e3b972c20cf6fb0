// The operators' tables of cases, run through libtorch's dispatcher on any device.
#pragma once

#include <c10/core/Device.h>

#include <string>
#include <vector>

namespace styleclip::selfcheck {

struct Outcome {
  std::string op, implementation, device;
  int passed = 0, failed = 0;
  std::vector<std::string> failures;  // the first few
};

/// Every case of accumulate_directions with one implementation forced ("reference", "cpu", "cuda").
Outcome run_accumulate_directions(const std::string& implementation, c10::Device device);

struct Timing {
  std::string op, implementation, device, shape, type;
  double milliseconds = 0;  // of one call, the median of several
  double bytes = 0;         // that any implementation has to move: what it takes and what it gives, each number once
  double gigabytes_per_second() const { return bytes / milliseconds / 1e6; }
};

/// Times accumulate_directions at the sweep's sizes; results are compared with the reference first (an Error on a
/// difference).
std::vector<Timing> time_accumulate_directions(const std::string& implementation, c10::Device device);

}  // namespace styleclip::selfcheck
