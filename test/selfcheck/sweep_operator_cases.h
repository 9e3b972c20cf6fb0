// The table of cases of the exact sweep's operators, run through libtorch's dispatcher on any device.
#pragma once

#include <c10/core/Device.h>

#include <string>
#include <vector>

#include "operator_cases.h"
#include "sweep_cases.h"

namespace styleclip::selfcheck {

/// Every case of one operator with one implementation forced ("reference", "cpu", "cuda").
Outcome run_sweep_operator(cases::sweep::Op op, const std::string& implementation, c10::Device device);

/// Times it at the sweep's sizes; results are compared with the reference first, at a small size (an Error on a difference).
/// The bytes of a timing are those that every implementation has to move: activations read and written once.
std::vector<Timing> time_sweep_operator(cases::sweep::Op op, const std::string& implementation, c10::Device device);

}  // namespace styleclip::selfcheck
