// The table of cases of resize_8bit, run through libtorch's dispatcher on any device.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "operator_cases.h"

namespace styleclip::selfcheck {

/// Every case with one implementation forced ("reference", "cpu", "cuda"): bit for bit.
Outcome run_resize_8bit(const std::string& implementation, c10::Device device);

}  // namespace styleclip::selfcheck
