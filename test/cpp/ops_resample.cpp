// Resampling: the matrices against what the released code and libtorch do, and the operator with its gradient, reference
// and CPU implementation, over bands of all kinds.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "forced.h"
#include "gradients_fixture.h"
#include "refusals.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"
#include "styleclip/resampling.h"

namespace {

using gradients::Function;
using gradients::Tensors;
using refusals::code_of;
using styleclip::ErrorCode;

double difference(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

at::Tensor pictures(std::int64_t n, std::int64_t h, std::int64_t w) {
  return at::rand({n, 3, h, w}, at::kDouble) * 2 - 1;
}

TEST_CASE("clip_resample is Upsample(7) and AvgPool2d(size / 32) of the released code") {
  at::manual_seed(21);
  for (const std::int64_t size : {32, 64, 96, 128, 256}) {
    const at::Tensor images = pictures(1, size, size);
    for (const std::int64_t clip_size : {224, 288, 32}) {
      CAPTURE(size);
      CAPTURE(clip_size);
      const std::int64_t times = clip_size / 32;
      const at::Tensor wanted =
          at::avg_pool2d(at::upsample_nearest2d(images, {size * times, size * times}), {size / 32, size / 32});
      CHECK(difference(styleclip::clip_resample(images, clip_size), wanted) <= 1e-14);
    }
  }
  // Of 256 pixels at most two a row, of 1024 five or six; rows sum to one.
  const at::Tensor small = styleclip::clip_resample_matrix(256), large = styleclip::clip_resample_matrix(1024);
  CHECK((small != 0).sum(1).max().item<std::int64_t>() == 2);
  CHECK((large != 0).sum(1).max().item<std::int64_t>() == 6);
  CHECK((large != 0).sum(1).min().item<std::int64_t>() == 5);
  CHECK(difference(large.sum(1), at::ones({224}, at::kDouble)) <= 1e-14);
  CHECK(code_of([] { (void)styleclip::clip_resample_matrix(100); }) == ErrorCode::Range);
  CHECK(code_of([] { (void)styleclip::clip_resample_matrix(0); }) == ErrorCode::Range);
  CHECK(code_of([] { (void)styleclip::clip_resample_matrix(256, 225); }) == ErrorCode::Range);
}

TEST_CASE("bicubic_resample is libtorch's antialiased one") {
  at::manual_seed(22);
  for (const auto& [h, w, to_h, to_w] : std::vector<std::array<std::int64_t, 4>>{
           {96, 96, 224, 224}, {256, 256, 224, 224}, {301, 257, 224, 224}, {7, 5, 3, 11}, {1, 1, 4, 4}, {9, 9, 1, 1}}) {
    CAPTURE(h);
    CAPTURE(to_h);
    const at::Tensor images = pictures(2, h, w);
    const at::Tensor wanted = at::_upsample_bicubic2d_aa(images, {to_h, to_w}, false);
    CHECK(difference(styleclip::bicubic_resample(images, to_h, to_w), wanted) <= 1e-14);
  }
  CHECK(code_of([] { (void)styleclip::bicubic_matrix(4, 0); }) == ErrorCode::Range);
}

TEST_CASE("face_crop_resample is the released identity loss's pool, crop and pool") {
  at::manual_seed(23);
  for (const auto& [h, w] : std::vector<std::array<std::int64_t, 2>>{{256, 256}, {96, 96}, {512, 512}, {300, 200}}) {
    for (const std::int64_t out : {112, 50}) {
      CAPTURE(h);
      CAPTURE(out);
      const at::Tensor images = pictures(1, h, w);
      at::Tensor wanted = h == 256 ? images : at::adaptive_avg_pool2d(images, {256, 256});
      wanted = at::adaptive_avg_pool2d(wanted.slice(2, 35, 223).slice(3, 32, 220), {out, out});
      CHECK(difference(styleclip::face_crop_resample(images, out), wanted) <= 1e-14);
    }
  }
  CHECK(code_of([] { (void)styleclip::face_crop_matrix(256, 256, 0); }) == ErrorCode::Range);
  CHECK(code_of([] { (void)styleclip::pool_matrix(0, 3); }) == ErrorCode::Range);
}

TEST_CASE("upsample_picture is the generator's: zeros between, pads 2 and 1, [1, 3, 3, 1]") {
  at::manual_seed(24);
  const at::Tensor line = at::tensor({0.25, 0.75, 0.75, 0.25}, at::kDouble);
  const at::Tensor window = at::outer(line, line).repeat({3, 1, 1, 1});
  for (const std::int64_t r : {1, 2, 5, 16}) {
    CAPTURE(r);
    const at::Tensor images = pictures(2, r, r);
    at::Tensor spread = at::zeros({2, 3, 2 * r, 2 * r}, at::kDouble);
    spread.slice(2, 0, 2 * r, 2).slice(3, 0, 2 * r, 2).copy_(images);
    const at::Tensor wanted =
        at::conv2d(at::constant_pad_nd(spread, {2, 1, 2, 1}), window, {}, 1, at::IntArrayRef{0}, 1, 3);
    CHECK(difference(styleclip::upsample_picture(images), wanted) <= 1e-14);
    CHECK(difference(wanted, at::conv_transpose2d(images, window, {}, 2, 1, 0, 3)) <= 1e-14);
  }
  CHECK(code_of([] { (void)styleclip::upsample_matrix(0); }) == ErrorCode::Range);
}

// Bands of uneven length with zeros inside, rows of nothing but zeros.
at::Tensor ragged(std::int64_t to, std::int64_t from) {
  at::Tensor matrix = at::randn({to, from}, at::kDouble);
  const at::Tensor far =
      at::arange(from).unsqueeze(0) - (at::arange(to).unsqueeze(1) * from) / std::max<std::int64_t>(to, 1);
  matrix = at::where(far.abs() > at::arange(to).unsqueeze(1).remainder(4), 0.0, matrix);
  if (to > 2) matrix[to / 2].zero_();
  return matrix;
}

struct Case {
  std::int64_t n, c, h, w, to_h, to_w;
  bool banded = true;
};
const std::vector<Case> kCases = {{1, 1, 1, 1, 1, 1}, {1, 3, 7, 5, 4, 9},        {2, 1, 6, 6, 6, 6},
                                  {1, 2, 5, 8, 3, 3}, {2, 2, 4, 5, 6, 3, false}, {1, 1, 9, 3, 20, 2}};
const std::vector<Case> kLargeCases = {{2, 3, 67, 61, 33, 70}, {1, 3, 40, 40, 100, 17}, {0, 3, 5, 5, 3, 3},
                                       {2, 3, 0, 5, 3, 3},     {2, 3, 5, 5, 0, 3},      {1, 2, 70, 70, 70, 70, false}};

std::pair<at::Tensor, at::Tensor> matrices(const Case& which, at::ScalarType type) {
  const auto make = [&](std::int64_t to, std::int64_t from) {
    return (which.banded && from > 0 ? ragged(to, from) : at::randn({to, from}, at::kDouble)).to(at::kFloat).to(type);
  };
  at::manual_seed(25);
  return {make(which.to_h, which.h), make(which.to_w, which.w)};
}

Function fused(const Case& which) {
  return [which](const Tensors& in) {
    const auto [v, h] = matrices(which, in[0].scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    return styleclip::resample(in[0], v, h);
  };
}
Function plain(const Case& which) {
  return [which](const Tensors& in) {
    const auto [v, h] = matrices(which, in[0].scalar_type());
    return at::matmul(at::matmul(v, in[0]), h.t());
  };
}

std::string text(const Case& which) {
  return std::to_string(which.h) + " x " + std::to_string(which.w) + " to " + std::to_string(which.to_h) + " x " +
         std::to_string(which.to_w);
}

TEST_CASE("resample has the gradient of its plain composition and of finite differences") {
  at::manual_seed(26);
  for (const std::vector<Case>* table : {&kCases, &kLargeCases}) {
    for (const Case& which : *table) {
      const Tensors inputs = {at::randn({which.n, which.c, which.h, which.w}, at::kDouble)};
      for (const std::string name : {"reference", "cpu"}) {
        CAPTURE(text(which));
        CAPTURE(name);
        const Forced forced("resample", name);
        gradients::check_double(fused(which), plain(which), inputs, table == &kCases);
        for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
          CAPTURE(c10::toString(type));
          gradients::check_narrow(fused(which), plain(which), inputs, type);
        }
      }
    }
  }
}

TEST_CASE("resample takes pictures and matrices as they lie, and gives contiguous ones") {
  at::manual_seed(27);
  const at::Tensor images = at::randn({2, 3, 20, 30}, at::kDouble), v = ragged(9, 20), h = ragged(45, 30);
  const at::Tensor odd = at::randn({2, 6, 30, 20}, at::kDouble).slice(1, 1, 6, 2).transpose(2, 3);
  odd.copy_(images);
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("resample", name);
    const at::Tensor wanted = styleclip::resample(images, v, h);
    CHECK(wanted.is_contiguous());
    const at::Tensor odd_matrices = styleclip::resample(odd, v.t().contiguous().t(), h.repeat({1, 2}).slice(1, 0, 30));
    const at::Tensor last = styleclip::resample(images.contiguous(at::MemoryFormat::ChannelsLast), v, h);
    if (name == "cpu") {
      CHECK(at::equal(wanted, odd_matrices));
      CHECK(at::equal(wanted, last));
      continue;
    }
    // The reference is libtorch's matrix products, whose order of summation may hang on the layout: two sums of 20 and of
    // 30 products, each within γ(51) of the exact one (Higham 2002, chapter 3).
    const at::Tensor bound =
        2 * 51 * 0x1p-53 / (1 - 51 * 0x1p-53) * styleclip::resample(images.abs(), v.abs(), h.abs());
    CHECK((wanted - odd_matrices).abs().le(bound).all().item<bool>());
    CHECK((wanted - last).abs().le(bound).all().item<bool>());
  }
}

TEST_CASE("resample has second derivatives, being its own backward operator with the matrices turned") {
  at::manual_seed(28);
  const at::Tensor v = ragged(3, 4), h = ragged(5, 4);
  const at::Tensor images = at::randn({1, 1, 4, 4}, at::kDouble).requires_grad_();
  const at::Tensor above = at::randn({1, 1, 3, 5}, at::kDouble).requires_grad_();
  const at::Tensor weights = at::randn({1, 1, 4, 4}, at::kDouble);
  const at::Tensor y = styleclip::resample(images, v, h);
  const at::Tensor first = torch::autograd::grad({y}, {images}, {above}, true, true)[0];
  const at::Tensor second = torch::autograd::grad({first}, {above}, {weights})[0];
  CHECK(difference(second, styleclip::resample(weights, v, h)) <= 1e-13);
}

TEST_CASE("on a CPU, NaN reaches what its bands reach") {
  at::Tensor matrix = at::zeros({3, 6}, at::kDouble);
  for (std::int64_t row = 0; row < 3; ++row) matrix[row].slice(0, 2 * row, 2 * row + 2).fill_(0.5);
  const Forced forced("resample", "cpu");
  at::Tensor images = at::ones({1, 1, 6, 6}, at::kDouble);
  images[0][0][2][5] = NAN;
  const at::Tensor y = styleclip::resample(images, matrix, matrix);
  CHECK(at::isnan(y).sum().item<std::int64_t>() == 1);
  CHECK(std::isnan(y[0][0][1][2].item<double>()));
}

TEST_CASE("the resampling on one thread and on two, bit for bit; kept matrices may come first from InferenceMode") {
  at::manual_seed(29);
  const int before = at::get_num_threads();
  const at::Tensor images = at::rand({3, 3, 128, 128});
  Tensors results;
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    const c10::InferenceMode guard(threads == 1);
    results.push_back(styleclip::bicubic_resample(images, 61, 61).clone());
  }
  at::set_num_threads(before);
  CHECK(at::equal(results[0], results[1]));
  const at::Tensor leaf = images.clone().requires_grad_();
  CHECK(torch::autograd::grad({styleclip::bicubic_resample(leaf, 61, 61).sum()}, {leaf})[0].sizes() == leaf.sizes());
}

TEST_CASE("arguments of resample that do not fit are refused") {
  const at::Tensor images = at::zeros({1, 3, 4, 5}), v = at::zeros({2, 4}), h = at::zeros({2, 5});
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("resample", name);
    const auto code = [&](const at::Tensor& x, const at::Tensor& a, const at::Tensor& b) {
      return code_of([&] { (void)styleclip::resample(x, a, b); });
    };
    CHECK(code(images[0], v, h) == ErrorCode::Shape);
    CHECK(code(images, h, v) == ErrorCode::Shape);
    CHECK(code(images, v, {}) == ErrorCode::Shape);
    CHECK(code(images, v[0], h) == ErrorCode::Shape);
    CHECK(code(images.to(at::kLong), v, h) == ErrorCode::Argument);
    CHECK(code(images.to(at::kHalf), v.to(at::kHalf), h) == ErrorCode::Argument);
    CHECK(code(images.to(at::kDouble), v, h) == ErrorCode::Argument);
    CHECK(code(images, at::zeros({2, 4}).requires_grad_(), h) == ErrorCode::Argument);
  }
}

}  // namespace
