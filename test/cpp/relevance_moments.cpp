// Streaming moments against the two-pass formula in float64, on data where a sum of squares would fail.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>

#include "relevance/style_moments.h"

namespace {

using styleclip::StyleMoments;

// [n, channels] float32 whose means reach 1000 times their deviations.
at::Tensor hard_values(std::int64_t n, std::int64_t channels) {
  std::mt19937_64 engine(7);
  std::normal_distribution<double> normal;
  at::Tensor values = at::empty({n, channels}, at::kFloat);
  auto rows = values.accessor<float, 2>();
  for (std::int64_t c = 0; c < channels; ++c) {
    const double mean = 97.0 * normal(engine);
    const double sigma = c % 5 == 0 ? 0.0 : 0.1 * (1 + static_cast<double>(c % 3));
    for (std::int64_t i = 0; i < n; ++i) rows[i][c] = static_cast<float>(mean + sigma * normal(engine));
  }
  return values;
}

double largest_error(const at::Tensor& value, const at::Tensor& expected) {
  return ((value - expected).abs() / expected.abs().clamp_min(1e-3)).max().item<double>();
}

TEST_CASE("mean and σ (ddof 0) equal the two-pass formula for every split into batches") {
  const at::Tensor values = hard_values(1003, 23);
  const at::Tensor wide = values.to(at::kDouble);
  const at::Tensor mean = wide.mean(0);
  const at::Tensor sigma = at::sqrt((wide - mean).square().mean(0));
  for (const std::int64_t batch : {1, 7, 256, 1003}) {
    StyleMoments moments;
    for (std::int64_t first = 0; first < 1003; first += batch) {
      moments.add(values.narrow(0, first, std::min(batch, 1003 - first)));
    }
    CAPTURE(batch);
    CHECK(moments.count() == 1003);
    // float64 rounding of 1003 merges, on means up to a thousand deviations: 1003 · 2⁻⁵³ · 1000 = 1e-10 at worst.
    CHECK(largest_error(moments.mean(), mean) < 1e-10);
    CHECK(largest_error(moments.sigma(), sigma) < 1e-10);
  }
}

TEST_CASE("merging two halves is the whole, also with an empty half") {
  const at::Tensor values = hard_values(500, 8);
  StyleMoments whole;
  StyleMoments left;
  StyleMoments right;
  whole.add(values);
  left.add(values.narrow(0, 0, 123));
  right.add(values.narrow(0, 123, 377));
  left.merge(right);
  left.merge(StyleMoments());
  CHECK(left.count() == 500);
  CHECK(largest_error(left.mean(), whole.mean()) < 1e-12);
  CHECK(largest_error(left.sigma(), whole.sigma()) < 1e-10);
  StyleMoments empty;
  empty.merge(left);
  CHECK(empty.count() == 500);
}

TEST_CASE("one sample has no deviation; a constant channel has exactly none") {
  StyleMoments one;
  one.add(hard_values(1, 8));
  CHECK(one.sigma().abs().max().item<double>() == 0);
  StyleMoments many;
  const at::Tensor constant = at::full({64, 3}, 97.3F);
  many.add(constant);
  many.add(constant.narrow(0, 0, 5));
  CHECK(many.sigma().max().item<double>() == 0);
}

}  // namespace
