// The table of cases of resize_8bit, run through libtorch's dispatcher on any device.
#pragma once

#include <c10/core/Device.h>

#include <string>
#include <vector>

#include "operator_cases.h"

namespace styleclip::selfcheck {

/// Every case with one implementation forced ("reference", "cpu", "cuda"): bit for bit.
Outcome run_resize_8bit(const std::string& implementation, c10::Device device);

/// Times it: pictures of 1024 px to CLIP's 224, first across, then down, after the table of cases (an Error on a difference).
std::vector<Timing> time_resize_8bit(const std::string& implementation, c10::Device device);

}  // namespace styleclip::selfcheck
