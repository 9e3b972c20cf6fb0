#include "running.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace styleclip::selfcheck {
namespace {

constexpr int kWarmUp = 3, kTimed = 11, kMostRounds = 1000;
constexpr double kLeastMilliseconds = 5;  // of what is timed: a launch and the wait for its end are some microseconds

void synchronize(c10::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

}  // namespace

Forced::Forced(std::string op, const std::string& implementation) : op_(std::move(op)) {
  force_implementation(op_, implementation);
}

Forced::~Forced() { force_implementation(op_, ""); }

at::ScalarType scalar_type(cases::Type type) {
  switch (type) {
    case cases::Type::kFloat16: return at::kHalf;
    case cases::Type::kBFloat16: return at::kBFloat16;
    case cases::Type::kFloat32: break;
  }
  return at::kFloat;
}

std::vector<float> to_floats(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  const at::Tensor here = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
  const float* data = here.const_data_ptr<float>();
  return {data, data + here.numel()};
}

void require_passed(const Outcome& outcome) {
  if (outcome.failed == 0) return;
  throw Error(ErrorCode::Internal, outcome.op + ", " + outcome.implementation + ": " + outcome.failures.front(),
              "Report this, with the device and the libtorch version.");
}

double median_milliseconds(c10::Device device, const std::function<void()>& call) {
  std::vector<double> milliseconds;
  int rounds = 1;
  for (int run = 0; run < kWarmUp + kTimed; ++run) {
    synchronize(device);
    const auto start = std::chrono::steady_clock::now();
    for (int round = 0; round < rounds; ++round) call();
    synchronize(device);
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    if (run >= kWarmUp) milliseconds.push_back(taken.count() / rounds);
    if (run == kWarmUp - 1) {
      rounds = static_cast<int>(std::clamp(std::ceil(kLeastMilliseconds / taken.count()), 1.0, double{kMostRounds}));
    }
  }
  std::nth_element(milliseconds.begin(), milliseconds.begin() + kTimed / 2, milliseconds.end());
  return milliseconds[kTimed / 2];
}

double copy_gigabytes_per_second(c10::Device device) {
  const std::int64_t numbers = std::int64_t{1} << (device.is_cpu() ? 26 : 28);  // 256 MiB, 1 GiB
  const at::Tensor from = at::ones({numbers}, at::TensorOptions(device).dtype(at::kFloat));
  at::Tensor to = at::ones({numbers}, from.options());
  const double milliseconds = median_milliseconds(device, [&] { to.copy_(from); });
  return 2.0 * static_cast<double>(from.nbytes()) / milliseconds / 1e6;
}

}  // namespace styleclip::selfcheck
