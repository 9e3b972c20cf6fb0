#include "resize_operator_cases.h"

#include <ATen/ATen.h>

#include <sstream>

#include "resize_cases.h"
#include "running.h"
#include "styleclip/ops.h"

namespace styleclip::selfcheck {
namespace {

using cases::resize::Case;
using cases::resize::Inputs;

template <typename T>
at::Tensor put(const std::vector<T>& values, at::IntArrayRef shape, at::ScalarType type, c10::Device device) {
  const at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(type));
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<T>());
  return tensor.to(device);
}

bool right(const Case& which, c10::Device device) {
  const Inputs in = cases::resize::make_inputs(which);
  const at::Tensor got = resize_8bit(put(in.pixels, {which.outer, which.length, which.inner}, at::kByte, device),
                                     put(in.first, {which.out}, at::kInt, device),
                                     put(in.weights, {which.out, which.taps}, at::kInt, device));
  const at::Tensor wanted =
      put(cases::resize::expected(which, in), {which.outer, which.out, which.inner}, at::kByte, at::kCPU);
  return at::equal(got.cpu(), wanted);
}

}  // namespace

Outcome run_resize_8bit(const std::string& implementation, c10::Device device) {
  return run_cases<Case>("resize_8bit", implementation, device, cases::resize::all_cases(),
                         [&](const Case& which) { return std::string(right(which, device) ? "" : "other numbers"); });
}

std::vector<Timing> time_resize_8bit(const std::string& implementation, c10::Device device) {
  require_passed(run_resize_8bit(implementation, device));
  constexpr std::int64_t kSide = 1024, kOut = 224, kTaps = 21;  // taps of a bicubic window that is so much wider
  const std::int64_t pictures = device.is_cpu() ? 2 : 64;
  std::vector<Timing> timings;
  for (const Case& which : {Case{pictures * kSide, kSide, 3, kOut, kTaps}, {pictures, kSide, kOut * 3, kOut, kTaps}}) {
    const at::Tensor pixels =
        at::randint(256, {which.outer, which.length, which.inner}, at::TensorOptions(device).dtype(at::kByte));
    const at::Tensor first = at::arange(which.out, at::TensorOptions(device).dtype(at::kInt))
                                 .mul(which.length - which.taps)
                                 .floor_divide(which.out - 1);
    const at::Tensor weights = at::full({which.out, which.taps}, (1 << 22) / which.taps, first.options());
    const Forced forced("resize_8bit", implementation);
    const double milliseconds = median_milliseconds(device, [&] { resize_8bit(pixels, first, weights); });
    std::ostringstream shape;
    shape << "[" << which.outer << ", " << which.length << ", " << which.inner << "] to " << which.out;
    const auto bytes = static_cast<double>(which.outer * (which.length + which.out) * which.inner);
    timings.push_back({"resize_8bit", implementation, device.str(), shape.str(), "Byte", milliseconds, bytes});
  }
  return timings;
}

}  // namespace styleclip::selfcheck
