// What the tables of cases share when they run through libtorch's dispatcher: one implementation forced, cases counted,
// calls timed.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "operator_cases.h"
#include "tables.h"

namespace styleclip::selfcheck {

/// Forces one implementation of an operator while it lives.
class Forced {
 public:
  Forced(std::string op, const std::string& implementation);
  ~Forced();
  Forced(const Forced&) = delete;
  Forced& operator=(const Forced&) = delete;

 private:
  std::string op_;
};

at::ScalarType scalar_type(cases::Type type);

/// Its numbers in order, as float32; none of an undefined one.
std::vector<float> to_floats(const at::Tensor& tensor);

/// Runs every case of a table: `fault` says what is wrong with one, or nothing; what it throws is a fault too.
template <typename Case>
Outcome run_cases(const std::string& op, const std::string& implementation, c10::Device device,
                  const std::vector<Case>& table, const std::function<std::string(const Case&)>& fault) {
  Outcome outcome{op, implementation, device.str(), 0, 0, {}};
  const Forced forced(op, implementation);
  for (const Case& which : table) {
    std::string fault_here;
    try {
      fault_here = fault(which);
    } catch (const std::exception& error) {
      fault_here = error.what();
    }
    ++(fault_here.empty() ? outcome.passed : outcome.failed);
    if (!fault_here.empty() && outcome.failures.size() < 10) {
      outcome.failures.push_back(name(which) + ": " + fault_here);
    }
  }
  return outcome;
}

/// Correct first, a fast wrong answer is not timed: an Error on a failure.
void require_passed(const Outcome& outcome);

/// Milliseconds of one call, the device's work included: the median of several, after some that warm up. A call that is
/// over before the host hears of it is repeated until that no longer counts.
double median_milliseconds(c10::Device device, const std::function<void()>& call);
/// GB/s of a large copy, bytes read plus bytes written: what a kernel's are held against.
double copy_gigabytes_per_second(c10::Device device);

}  // namespace styleclip::selfcheck
