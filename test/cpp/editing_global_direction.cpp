// Global directions on planted numbers, where every answer is known in closed form: rows that are an orthonormal basis,
// so that a text direction's coordinates are the relevances.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "refusals.h"
#include "styleclip/editing.h"
#include "styleclip/error.h"

namespace {

using refusals::error_of;
using styleclip::DirectionOptions;
using styleclip::Error;
using styleclip::ErrorCode;
using styleclip::GlobalDirection;
using styleclip::Measure;
using styleclip::RelevanceView;

// n rows that are the first n unit vectors of a rotated basis of 2 n dimensions: (e_{2i} + e_{2i+1}) / √2.
struct Planted {
  explicit Planted(std::vector<float> relevance, std::int64_t total = 0)
      : n(static_cast<std::int64_t>(relevance.size())) {
    const auto dim = static_cast<std::size_t>(2 * n);
    rows.assign(static_cast<std::size_t>(n) * dim, 0.0F);
    text.assign(dim, 0.0F);
    const float half = std::sqrt(0.5F);
    double squares = 0;
    for (std::size_t i = 0; i < relevance.size(); ++i) {
      rows[i * dim + 2 * i] = rows[i * dim + 2 * i + 1] = half;
      text[2 * i] += relevance[i] * half;
      text[2 * i + 1] += relevance[i] * half;
      squares += static_cast<double>(relevance[i]) * relevance[i];
    }
    // What the rows do not see of the unit text direction, orthogonal to all of them.
    const float rest = static_cast<float>(std::sqrt(std::max(0.0, 1 - squares)));
    text[0] += rest * half;
    text[1] -= rest * half;
    channels.resize(relevance.size());
    std::iota(channels.begin(), channels.end(), std::int64_t{0});
    concentration.assign(relevance.size(), 1.0F);
    sigma.assign(static_cast<std::size_t>(total > 0 ? total : n), 1.0F);
  }
  RelevanceView view() const {
    return {rows.data(),
            n,
            2 * n,
            channels.data(),
            concentration.data(),
            sigma.data(),
            static_cast<std::int64_t>(sigma.size())};
  }
  GlobalDirection direction(const DirectionOptions& options) const {
    return styleclip::global_direction(view(), text.data(), options);
  }

  std::int64_t n;
  std::vector<float> rows, text, concentration, sigma;
  std::vector<std::int64_t> channels;
};

DirectionOptions with_beta(double beta) {
  DirectionOptions options;
  options.beta = beta;
  return options;
}

// The planted numbers are float32, so relevances carry 2⁻²⁴ of rounding, a few times over.
doctest::Approx near(double value) { return doctest::Approx(value).epsilon(1e-6); }

TEST_CASE("β keeps |r| ≥ β, both signs, the largest first, and divides by the largest") {
  const Planted planted({0.1F, -0.4F, 0.2F, 0.05F, 0.3F});
  const GlobalDirection direction = planted.direction(with_beta(0.15));
  REQUIRE(direction.selected.size() == 3);
  CHECK(direction.selected[0].channel == 1);
  CHECK(direction.selected[1].channel == 4);
  CHECK(direction.selected[2].channel == 2);
  CHECK(direction.selected[0].relevance == near(-0.4));
  CHECK(direction.largest == near(0.4));
  CHECK(direction.beta == 0.15);
  REQUIRE(direction.delta.size() == 5);
  CHECK(direction.delta[0] == 0);
  CHECK(direction.delta[1] == near(-1));
  CHECK(direction.delta[2] == near(0.5));
  CHECK(direction.delta[3] == 0);
  CHECK(direction.delta[4] == near(0.75));
  CHECK(direction.selected[1].delta == direction.delta[4]);
}

TEST_CASE("σ scales each channel by its own, and the paper's form scales by nothing") {
  Planted planted({0.1F, -0.4F, 0.2F});
  planted.sigma = {2, 3, 5};
  const GlobalDirection scaled = planted.direction(with_beta(0.15));
  CHECK(scaled.delta[1] == near(-3));
  CHECK(scaled.delta[2] == near(2.5));

  DirectionOptions paper = with_beta(0.15);
  paper.scale_by_sigma = false;
  paper.normalise_largest = false;
  const GlobalDirection plain = planted.direction(paper);
  CHECK(plain.delta[1] == near(-0.4));
  CHECK(plain.delta[2] == near(0.2));
  paper.scale_by_sigma = true;
  CHECK(planted.direction(paper).delta[2] == near(1.0));
}

TEST_CASE("a longer text direction gives the same edit") {
  Planted planted({0.1F, -0.4F, 0.2F});
  const GlobalDirection one = planted.direction(with_beta(0.15));
  for (float& x : planted.text) x *= 8;
  const GlobalDirection eight = planted.direction(with_beta(0.15));
  CHECK(one.delta == eight.delta);
}

TEST_CASE("projection is cosine times concentration, and changes what is kept") {
  Planted planted({0.4F, 0.3F, 0.2F});
  planted.concentration = {0.25F, 1.0F, 0.5F};
  DirectionOptions options = with_beta(0.1);
  CHECK(planted.direction(options).selected.front().channel == 0);
  options.measure = Measure::Projection;
  const GlobalDirection direction = planted.direction(options);
  REQUIRE(direction.selected.size() == 3);
  CHECK(direction.selected[0].channel == 1);
  CHECK(direction.selected[0].relevance == near(0.3));
  CHECK(direction.delta[0] == near(0.1 / 0.3));
  CHECK(direction.delta[2] == near(0.1 / 0.3));
  options.beta = 0.2;
  CHECK(planted.direction(options).selected.size() == 1);
}

TEST_CASE("channels may be a subset: rows find their place in S") {
  Planted planted({0.5F, -0.25F}, 10);
  planted.channels = {7, 3};
  for (std::size_t i = 0; i < planted.sigma.size(); ++i) planted.sigma[i] = static_cast<float>(i);
  const GlobalDirection direction = planted.direction(with_beta(0.1));
  REQUIRE(direction.delta.size() == 10);
  for (std::size_t i = 0; i < 10; ++i) {
    if (i != 7 && i != 3) CHECK(direction.delta[i] == 0);
  }
  CHECK(direction.delta[7] == near(7));
  CHECK(direction.delta[3] == near(-1.5));
  CHECK(direction.selected[0].row == 0);
  CHECK(direction.selected[1].row == 1);
}

TEST_CASE("a number of channels keeps that many, ties in the order of channels") {
  const Planted planted({0.2F, 0.3F, -0.2F, 0.1F, 0.2F});
  DirectionOptions options;
  options.channels = 3;
  const GlobalDirection direction = planted.direction(options);
  REQUIRE(direction.selected.size() == 3);
  CHECK(direction.selected[0].channel == 1);
  CHECK(direction.selected[1].channel == 0);
  CHECK(direction.selected[2].channel == 2);
  CHECK(direction.beta == near(0.2));
  options.channels = 5;
  CHECK(planted.direction(options).selected.size() == 5);
}

TEST_CASE("channels that do not move along the text are not selected, however low β is") {
  const Planted planted({0.2F, 0.0F, 0.1F});
  CHECK(planted.direction(with_beta(0)).selected.size() == 2);
  DirectionOptions options;
  options.channels = 3;
  CHECK(planted.direction(options).selected.size() == 2);
}

TEST_CASE("automatic β: the largest of 0.10 … 0.29 that keeps more than the number asked for") {
  // r = 0.301, 0.281, 0.261, …: twelve channels 0.02 apart, their squares sum to less than 1.
  std::vector<float> relevance;
  for (int i = 0; i < 12; ++i) relevance.push_back(0.301F - 0.02F * static_cast<float>(i));
  const Planted planted(relevance);
  DirectionOptions options = with_beta(-1);
  options.automatic_channels = 4;  // more than 4: the fifth is 0.221
  CHECK(planted.direction(options).beta == doctest::Approx(0.22));
  CHECK(planted.direction(options).selected.size() == 5);
  options.automatic_channels = 0;  // the largest candidate that keeps any
  CHECK(planted.direction(options).beta == doctest::Approx(0.29));
  options.automatic_channels = 100;  // none does: 0.10
  CHECK(planted.direction(options).beta == doctest::Approx(0.10));
  CHECK(planted.direction(options).selected.size() == 11);
  options.automatic_channels = 10;
  CHECK(planted.direction(options).beta == doctest::Approx(0.10));
}

TEST_CASE("an empty selection says the largest |r| and a β that keeps the usual number") {
  const Planted planted({0.051F, -0.087F, 0.062F});
  DirectionOptions options = with_beta(0.5);
  options.automatic_channels = 2;
  const Error error = error_of([&] { (void)planted.direction(options); });
  CHECK(error.code() == ErrorCode::EmptySelection);
  CHECK(std::string(error.what()).find("0.087") != std::string::npos);
  CHECK(error.remedy().find("0.06") != std::string::npos);
  // What it suggests works and keeps what it says.
  CHECK(error.remedy().find("keeps 2") != std::string::npos);
  options.beta = 0.06;
  CHECK(planted.direction(options).selected.size() == 2);

  CHECK(error_of([&] { (void)planted.direction(with_beta(-1)); }).code() == ErrorCode::EmptySelection);
  CHECK(error_of([] { (void)Planted({0.0F, 0.0F}).direction(with_beta(0.1)); }).code() == ErrorCode::EmptySelection);
}

TEST_CASE("a suggested β that would round to nothing is given with more digits") {
  const Planted planted({0.004F, -0.003F});
  DirectionOptions options = with_beta(0.5);
  options.automatic_channels = 1;
  const Error error = error_of([&] { (void)planted.direction(options); });
  CHECK(error.remedy().find("0.00396") != std::string::npos);
  options.beta = 0.00396;
  CHECK(planted.direction(options).selected.size() == 1);
}

TEST_CASE("numbers that are not finite are named") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Planted rows({0.4F, 0.3F});
  rows.rows[5] = nan;
  const Error error = error_of([&] { (void)rows.direction(with_beta(0.1)); });
  CHECK(error.code() == ErrorCode::NotFinite);
  CHECK(std::string(error.what()).find("Row 1") != std::string::npos);
  Planted text({0.4F, 0.3F});
  text.text[0] = nan;
  CHECK(error_of([&] { (void)text.direction(with_beta(0.1)); }).code() == ErrorCode::NotFinite);
  text.text.assign(text.text.size(), 0.0F);
  CHECK(error_of([&] { (void)text.direction(with_beta(0.1)); }).code() == ErrorCode::NotFinite);
  Planted sigma({0.4F, 0.3F});
  sigma.sigma[1] = std::numeric_limits<float>::infinity();
  CHECK(error_of([&] { (void)sigma.direction(with_beta(0.1)); }).code() == ErrorCode::NotFinite);
}

TEST_CASE("settings out of range") {
  const Planted planted({0.4F, 0.3F});
  CHECK(error_of([&] { (void)planted.direction(with_beta(std::nan(""))); }).code() == ErrorCode::Range);
  CHECK(error_of([&] { (void)planted.direction(with_beta(1.5)); }).code() == ErrorCode::Range);
  DirectionOptions options;
  options.channels = 3;
  CHECK(error_of([&] { (void)planted.direction(options); }).code() == ErrorCode::Range);
  options.channels = -1;
  CHECK(error_of([&] { (void)planted.direction(options); }).code() == ErrorCode::Range);
  Planted beyond({0.4F, 0.3F});
  beyond.channels[1] = 2;
  CHECK(error_of([&] { (void)beyond.direction(with_beta(0.1)); }).code() == ErrorCode::Range);
  RelevanceView empty = planted.view();
  empty.count = 0;
  CHECK(error_of([&] { (void)styleclip::global_direction(empty, planted.text.data(), with_beta(0.1)); }).code() ==
        ErrorCode::Shape);
}

}  // namespace
