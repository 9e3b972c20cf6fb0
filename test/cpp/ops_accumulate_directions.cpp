// accumulate_directions: both CPU implementations against an independent loop in long double, over types and sizes with
// nothing even about them, and the cases that a mean would hide.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "forced.h"
#include "ops/accumulate_directions.h"
#include "refusals.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace {

using refusals::code_of;
using styleclip::ErrorCode;

struct Sums {
  at::Tensor sum, magnitude, count;
};

Sums zeros(std::int64_t channels, std::int64_t dim) {
  return {at::zeros({channels, dim}, at::kDouble), at::zeros({channels}, at::kDouble),
          at::zeros({channels}, at::kLong)};
}

// The formula, one picture and one channel at a time, in long double.
Sums expected(const at::Tensor& plus, const at::Tensor& minus) {
  const std::int64_t channels = plus.size(0);
  const std::int64_t images = plus.size(1);
  const std::int64_t dim = plus.size(2);
  const at::Tensor p = plus.to(at::kDouble).contiguous();
  const at::Tensor n = minus.to(at::kDouble).contiguous();
  Sums result = zeros(channels, dim);
  for (std::int64_t k = 0; k < channels; ++k) {
    std::vector<long double> sum(static_cast<std::size_t>(dim), 0);
    long double magnitude = 0;
    std::int64_t count = 0;
    for (std::int64_t m = 0; m < images; ++m) {
      const double* a = p[k][m].const_data_ptr<double>();
      const double* b = n[k][m].const_data_ptr<double>();
      long double aa = 0;
      long double bb = 0;
      for (std::int64_t i = 0; i < dim; ++i) aa += static_cast<long double>(a[i]) * a[i];
      for (std::int64_t i = 0; i < dim; ++i) bb += static_cast<long double>(b[i]) * b[i];
      std::vector<long double> d(static_cast<std::size_t>(dim));
      long double dd = 0;
      for (std::int64_t i = 0; i < dim; ++i) {
        d[static_cast<std::size_t>(i)] = a[i] / std::sqrt(aa) - b[i] / std::sqrt(bb);
        dd += d[static_cast<std::size_t>(i)] * d[static_cast<std::size_t>(i)];
      }
      if (dd == 0) continue;
      magnitude += std::sqrt(dd);
      ++count;
      for (std::int64_t i = 0; i < dim; ++i)
        sum[static_cast<std::size_t>(i)] += d[static_cast<std::size_t>(i)] / std::sqrt(dd);
    }
    for (std::int64_t i = 0; i < dim; ++i) result.sum[k][i] = static_cast<double>(sum[static_cast<std::size_t>(i)]);
    result.magnitude[k] = static_cast<double>(magnitude);
    result.count[k] = count;
  }
  return result;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == 0 ? 0 : (a - b).abs().max().item<double>();
}

TEST_CASE("both implementations equal the formula, whatever type and size") {
  at::manual_seed(3);
  for (const auto& [channels, images, dim] : std::vector<std::array<std::int64_t, 3>>{{1, 1, 1},
                                                                                      {1, 1, 2},
                                                                                      {3, 5, 7},
                                                                                      {2, 9, 64},
                                                                                      {17, 3, 129},
                                                                                      {1, 100, 512},
                                                                                      {65, 2, 513},
                                                                                      {0, 4, 8},
                                                                                      {4, 0, 8}}) {
    for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const at::Tensor minus = at::randn({channels, images, dim}).to(type);
      // A small change, as a weak channel makes: the difference then loses digits if anything is done in float32.
      const at::Tensor plus = (minus.to(at::kFloat) + 0.02 * at::randn({channels, images, dim})).to(type);
      const Sums want = expected(plus, minus);
      for (const std::string name : {"reference", "cpu"}) {
        CAPTURE(name);
        CAPTURE(type);
        CAPTURE(channels);
        CAPTURE(images);
        CAPTURE(dim);
        const Forced forced("accumulate_directions", name);
        Sums got = zeros(channels, dim);
        styleclip::accumulate_directions(plus, minus, got.sum, got.magnitude, got.count);
        CHECK(at::equal(got.count, want.count));
        // Rounding of d is a few 2⁻⁵³ of the unit embeddings; |d| here is above 1e-3, so d/|d| keeps 1e-12, and sums
        // of up to 100 pictures 1e-10.
        if (dim > 1) CHECK(distance(got.sum, want.sum) < 1e-10);
        CHECK(distance(got.magnitude, want.magnitude) < 1e-12);
      }
    }
  }
}

TEST_CASE("planted: orthogonal pairs give a difference of √2 along the diagonal") {
  const at::Tensor plus = at::tensor({3.0F, 0.0F, 0.5F, 0.0F}).view({1, 2, 2});
  const at::Tensor minus = at::tensor({0.0F, 2.0F, 0.0F, 7.0F}).view({1, 2, 2});
  Sums got = zeros(1, 2);
  styleclip::accumulate_directions(plus, minus, got.sum, got.magnitude, got.count);
  CHECK(got.sum[0][0].item<double>() == doctest::Approx(std::sqrt(2.0)).epsilon(1e-14));
  CHECK(got.sum[0][1].item<double>() == doctest::Approx(-std::sqrt(2.0)).epsilon(1e-14));
  CHECK(got.magnitude[0].item<double>() == doctest::Approx(2 * std::sqrt(2.0)).epsilon(1e-14));
  CHECK(got.count[0].item<std::int64_t>() == 2);
}

TEST_CASE("sums are added to, also through views that are not contiguous") {
  at::manual_seed(4);
  const at::Tensor plus = at::randn({3, 8, 5}).transpose(1, 2);  // [3, 5, 8], strided
  const at::Tensor minus = at::randn({3, 5, 8});
  const Sums want = expected(plus, minus);
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("accumulate_directions", name);
    at::Tensor sum = at::ones({8, 3}, at::kDouble).t();
    at::Tensor magnitude = at::full({6}, 10.0, at::kDouble).slice(0, 0, 6, 2);
    at::Tensor count = at::full({3}, 5, at::kLong);
    styleclip::accumulate_directions(plus, minus, sum, magnitude, count);
    CHECK(distance(sum, want.sum + 1) < 1e-12);
    CHECK(distance(magnitude, want.magnitude + 10) < 1e-12);
    CHECK(at::equal(count, want.count + 5));
  }
}

TEST_CASE("equal embeddings add nothing; multiples of one another differ by rounding at most") {
  at::manual_seed(5);
  const at::Tensor f = at::randn({2, 3, 50});
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("accumulate_directions", name);
    Sums got = zeros(2, 50);
    styleclip::accumulate_directions(f, f, got.sum, got.magnitude, got.count);
    CHECK(got.sum.abs().max().item<double>() == 0);
    CHECK(got.magnitude.abs().max().item<double>() == 0);
    CHECK(got.count.sum().item<std::int64_t>() == 0);
    styleclip::accumulate_directions(f, 4 * f, got.sum, got.magnitude, got.count);
    CHECK(got.magnitude.max().item<double>() < 1e-14);
  }
}

TEST_CASE("NaN, infinity and zero length show in their channel, and in no other") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinity, 0.0F}) {
    for (const std::string name : {"reference", "cpu"}) {
      CAPTURE(bad);
      CAPTURE(name);
      const Forced forced("accumulate_directions", name);
      at::manual_seed(6);
      const at::Tensor plus = at::randn({3, 4, 9});
      const at::Tensor minus = at::randn({3, 4, 9});
      if (bad == 0) {
        plus[1][2].fill_(0);
      } else {
        plus[1][2][5] = bad;
      }
      Sums got = zeros(3, 9);
      styleclip::accumulate_directions(plus, minus, got.sum, got.magnitude, got.count);
      CHECK(std::isnan(got.magnitude[1].item<double>()));
      CHECK(got.sum[1].isnan().any().item<bool>());
      CHECK(got.magnitude[0].isfinite().item<bool>());
      CHECK(got.sum[2].isfinite().all().item<bool>());
    }
  }
}

TEST_CASE("the fast implementation gives the same bits on one thread and on two") {
  at::manual_seed(8);
  const at::Tensor plus = at::randn({64, 20, 512});
  const at::Tensor minus = at::randn({64, 20, 512});
  const int before = at::get_num_threads();
  Sums one = zeros(64, 512);
  Sums two = zeros(64, 512);
  at::set_num_threads(1);
  styleclip::accumulate_directions_cpu(plus, minus, one.sum, one.magnitude, one.count);
  at::set_num_threads(2);
  styleclip::accumulate_directions_cpu(plus, minus, two.sum, two.magnitude, two.count);
  at::set_num_threads(before);
  CHECK(at::equal(one.sum, two.sum));
  CHECK(at::equal(one.magnitude, two.magnitude));
}

TEST_CASE("arguments that do not fit are refused by both implementations") {
  const at::Tensor f = at::ones({2, 3, 4});
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("accumulate_directions", name);
    const auto call = [](const at::Tensor& plus, const at::Tensor& minus, Sums sums) {
      return code_of([&] { styleclip::accumulate_directions(plus, minus, sums.sum, sums.magnitude, sums.count); });
    };
    CHECK(call(f, at::ones({2, 3, 5}), zeros(2, 4)) == ErrorCode::Shape);
    CHECK(call(f[0], f[0], zeros(3, 4)) == ErrorCode::Shape);
    CHECK(call(f, f, zeros(3, 4)) == ErrorCode::Shape);
    CHECK(call(f, f.to(at::kHalf), zeros(2, 4)) == ErrorCode::Argument);
    CHECK(call(f.to(at::kDouble), f.to(at::kDouble), zeros(2, 4)) == ErrorCode::Argument);
    Sums narrow = zeros(2, 4);
    narrow.sum = narrow.sum.to(at::kFloat);
    CHECK(call(f, f, narrow) == ErrorCode::Argument);
    Sums integers = zeros(2, 4);
    integers.count = integers.count.to(at::kInt);
    CHECK(call(f, f, integers) == ErrorCode::Argument);
  }
}

}  // namespace
