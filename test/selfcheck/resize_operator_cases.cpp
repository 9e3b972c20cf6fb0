#include "resize_operator_cases.h"

#include <ATen/ATen.h>

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

}  // namespace styleclip::selfcheck
