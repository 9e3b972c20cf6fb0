// One pass of an 8-bit resize: both implementations over the kernel's table of cases, numbers that can be done by hand, and
// what is refused. Whole pictures against Pillow's own are in models_parity.cpp.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>

#include "../cuda-host/resize_cases.h"
#include "forced.h"
#include "refusals.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace {

using styleclip::ErrorCode;

template <typename T>
at::Tensor put(const std::vector<T>& values, at::IntArrayRef shape, at::ScalarType type) {
  const at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(type));
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<T>());
  return tensor;
}

}  // namespace

TEST_CASE("resize_8bit: a mean of two, and sums beyond 8 bits") {
  const at::Tensor pixels = at::tensor({10, 21, 200, 0}, at::kByte).view({1, 4, 1});
  const at::Tensor first = at::tensor({0, 1, 2}, at::kInt);
  constexpr int kOne = 1 << 22;
  const at::Tensor weights = at::tensor({kOne / 2, kOne / 2, -kOne, kOne, 2 * kOne, kOne}, at::kInt).view({3, 2});
  for (const char* name : {"reference", "cpu"}) {
    const Forced forced("resize_8bit", name);
    CAPTURE(name);
    // (10 + 21) / 2 rounds up; 200 − 21; 400 is clipped.
    CHECK(at::equal(styleclip::resize_8bit(pixels, first, weights),
                    at::tensor({16, 179, 255}, at::kByte).view({1, 3, 1})));
    CHECK(at::equal(styleclip::resize_8bit(pixels, first, -weights), at::tensor({0, 0, 0}, at::kByte).view({1, 3, 1})));
  }
}

TEST_CASE("resize_8bit: the table of cases, bit for bit, whatever the layout in memory") {
  for (const auto& which : styleclip::cases::resize::all_cases()) {
    CAPTURE(name(which));
    const auto in = styleclip::cases::resize::make_inputs(which);
    const at::Tensor pixels = put(in.pixels, {which.outer, which.length, which.inner}, at::kByte);
    const at::Tensor first = put(in.first, {which.out}, at::kInt);
    const at::Tensor weights = put(in.weights, {which.out, which.taps}, at::kInt);
    const at::Tensor wanted =
        put(styleclip::cases::resize::expected(which, in), {which.outer, which.out, which.inner}, at::kByte);
    for (const char* name : {"reference", "cpu"}) {
      const Forced forced("resize_8bit", name);
      CAPTURE(name);
      CHECK(at::equal(styleclip::resize_8bit(pixels, first, weights), wanted));
      const at::Tensor turned = pixels.transpose(0, 2).contiguous().transpose(0, 2);
      CHECK(at::equal(styleclip::resize_8bit(turned, first, weights), wanted));
    }
  }
}

TEST_CASE("resize_8bit: arguments that do not fit are refused by both implementations") {
  const at::Tensor pixels = at::zeros({2, 4, 3}, at::kByte), first = at::zeros({5}, at::kInt);
  const at::Tensor weights = at::zeros({5, 3}, at::kInt);
  for (const char* name : {"reference", "cpu"}) {
    const Forced forced("resize_8bit", name);
    CAPTURE(name);
    const auto code = [](const at::Tensor& p, const at::Tensor& f, const at::Tensor& w) {
      return refusals::code_of([&] { (void)styleclip::resize_8bit(p, f, w); });
    };
    CHECK(code(pixels.flatten(), first, weights) == ErrorCode::Shape);
    CHECK(code(pixels, first.view({5, 1}), weights) == ErrorCode::Shape);
    CHECK(code(pixels, first, weights.narrow(0, 0, 4)) == ErrorCode::Shape);
    CHECK(code(pixels.narrow(1, 0, 0), first, weights) == ErrorCode::Shape);
    CHECK(code(pixels.to(at::kInt), first, weights) == ErrorCode::Argument);
    CHECK(code(pixels, first.to(at::kLong), weights) == ErrorCode::Argument);
    CHECK(code(pixels, first, weights.to(at::kLong)) == ErrorCode::Argument);
  }
}
