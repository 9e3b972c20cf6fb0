// Agreement of two relevances: the numbers that NumPy gave for two tables (test/data/agreement.json, which the TypeScript
// API's test reads too), and what is refused.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoint_fixture.h"
#include "styleclip/agreement.h"

namespace {

using nlohmann::json;
using styleclip::Agreement;
using styleclip::AgreementOptions;
using styleclip::ErrorCode;
using styleclip::RelevanceRows;
using tiny::error_of;

at::Tensor floats(const json& numbers) {
  return at::tensor(numbers.get<std::vector<double>>(), at::kDouble).to(at::kFloat);
}

RelevanceRows table(const json& of, std::int64_t dim) {
  RelevanceRows rows;
  rows.channels = of.at("channels").get<std::vector<std::int64_t>>();
  rows.rows = floats(of.at("rows")).view({-1, dim});
  rows.magnitude = floats(of.at("magnitude"));
  rows.counts = at::tensor(of.at("counts").get<std::vector<std::int64_t>>(), at::kLong);
  return rows;
}

// Both are sums of at most some hundred float64 numbers of about 1, in other orders.
void check_near(double actual, const json& expected) { CHECK(std::abs(actual - expected.get<double>()) <= 1e-13); }

void check_same(const Agreement& found, const json& expected) {
  CHECK(found.channels == expected.at("channels"));
  CHECK(found.still == expected.at("still"));
  const json& cosine = expected.at("cosine");
  check_near(found.cosine.min, cosine.at("min"));
  check_near(found.cosine.p01, cosine.at("p01"));
  check_near(found.cosine.p10, cosine.at("p10"));
  check_near(found.cosine.median, cosine.at("median"));
  check_near(found.cosine.mean, cosine.at("mean"));
  check_near(found.magnitude.median, expected.at("magnitude").at("median"));
  check_near(found.magnitude.max, expected.at("magnitude").at("max"));
  CHECK(found.resolved.channels == expected.at("resolved").at("channels"));
  check_near(found.resolved.min, expected.at("resolved").at("min"));
  CHECK(found.unresolved == expected.at("unresolved").get<std::vector<std::int64_t>>());
  REQUIRE(found.directions.size() == expected.at("directions").size());
  for (std::size_t i = 0; i < found.directions.size(); ++i) {
    const styleclip::DirectionAgreement& got = found.directions[i];
    const json& wanted = expected.at("directions")[i];
    CAPTURE(i);
    check_near(got.beta, wanted.at("beta"));
    check_near(got.pearson, wanted.at("pearson"));
    check_near(got.spearman, wanted.at("spearman"));
    CHECK(got.expected == wanted.at("expected"));
    CHECK(got.selected == wanted.at("selected"));
    check_near(got.recall, wanted.at("recall"));
  }
}

// n channels of unit rows along the axes of [d].
RelevanceRows axes(std::int64_t n, std::int64_t d) {
  RelevanceRows rows;
  for (std::int64_t i = 0; i < n; ++i) rows.channels.push_back(i);
  rows.rows = at::eye(n, d);
  rows.magnitude = at::ones({n});
  rows.counts = at::ones({n}, at::kLong);
  return rows;
}

}  // namespace

TEST_CASE("agreement: the numbers that NumPy gives, whatever the texts' lengths") {
  const json file = json::parse(checkpoint_fixture::contents(checkpoint_fixture::folder() + "../agreement.json"));
  const std::int64_t dim = file.at("dim");
  const RelevanceRows own = table(file.at("own"), dim), truth = table(file.at("truth"), dim);
  for (const double length : {1.0, 4.0}) {  // a power of two, which scales without rounding
    for (const json& one : file.at("cases")) {
      AgreementOptions options;
      for (const json& text : file.at("texts")) options.directions.push_back(floats(text) * length);
      if (!one.at("beta").is_null()) options.beta = one.at("beta").get<double>();
      options.epsilon = one.at("epsilon");
      check_same(styleclip::agreement(own, truth, options), one.at("expected"));
    }
  }
}

TEST_CASE("agreement: a table agrees with itself; what moves in one table only counts as 0") {
  const RelevanceRows whole = axes(3, 4);
  const Agreement same = styleclip::agreement(whole, whole, {{at::tensor({1.0F, 0.0F, 0.0F, 0.0F})}, 0.5});
  CHECK(same.cosine.min == 1);
  CHECK(same.magnitude.max == 0);
  CHECK(same.directions[0].pearson == doctest::Approx(1));
  CHECK(same.directions[0].recall == 1);

  RelevanceRows part = axes(3, 4);
  part.rows[1].zero_();
  part.counts[1] = 0;
  const Agreement half = styleclip::agreement(part, whole);
  CHECK(half.channels == 3);
  CHECK(half.still == 0);
  CHECK(half.cosine.min == 0);

  // Nothing expected is recalled in full, and relevances that do not vary have no correlation.
  const Agreement none = styleclip::agreement(whole, whole, {{at::tensor({0.0F, 0.0F, 0.0F, 1.0F})}, 0.5});
  CHECK(none.directions[0].expected == 0);
  CHECK(none.directions[0].recall == 1);
  CHECK(std::isnan(none.directions[0].pearson));

  RelevanceRows weak = axes(3, 4);
  weak.magnitude.fill_(1e-6F);
  AgreementOptions noisy;
  noisy.epsilon = 1e-6;
  const Agreement lost = styleclip::agreement(whole, weak, noisy);
  CHECK(lost.unresolved == std::vector<std::int64_t>{0, 1, 2});
  CHECK(std::isnan(lost.resolved.min));
}

TEST_CASE("agreement: tables, texts and settings that do not fit are refused") {
  const RelevanceRows whole = axes(3, 4);
  const auto code = [&](const RelevanceRows& rows, const AgreementOptions& options) {
    return error_of([&] { (void)styleclip::agreement(rows, whole, options); }).code();
  };
  const at::Tensor text = at::tensor({1.0F, 0.0F, 0.0F, 0.0F});
  CHECK(code(axes(3, 5), {}) == ErrorCode::Shape);
  RelevanceRows damaged = axes(3, 4);
  damaged.channels.pop_back();
  CHECK(code(damaged, {}) == ErrorCode::Shape);
  damaged = axes(3, 4);
  damaged.magnitude = at::Tensor();
  CHECK(code(damaged, {}) == ErrorCode::Shape);
  RelevanceRows others = axes(3, 4);
  for (std::int64_t& channel : others.channels) channel += 3;
  CHECK(code(others, {}) == ErrorCode::Argument);
  RelevanceRows broken = axes(3, 4);
  broken.rows[1][0] = std::numeric_limits<float>::quiet_NaN();
  CHECK(code(broken, {}) == ErrorCode::NotFinite);
  CHECK(code(whole, {{at::zeros({4})}, 0.5}) == ErrorCode::NotFinite);
  CHECK(code(whole, {{at::ones({5})}, 0.5}) == ErrorCode::Shape);
  CHECK(code(whole, {{at::ones({4, 1})}, 0.5}) == ErrorCode::Shape);
  CHECK(code(whole, {{text}, 1.5}) == ErrorCode::Range);
  CHECK(code(whole, {{text}, std::numeric_limits<double>::quiet_NaN()}) == ErrorCode::Range);
  AgreementOptions options;
  options.epsilon = -1;
  CHECK(code(whole, options) == ErrorCode::Range);
  // The fourth axis is nobody's.
  CHECK(code(whole, {{at::tensor({0.0F, 0.0F, 0.0F, 1.0F})}, {}}) == ErrorCode::EmptySelection);
}
