#include "relevance/confidence.h"

#include <cmath>
#include <numbers>

namespace styleclip {
namespace {

constexpr double kLeastFactor = 1.5365;  // of Székely and Bakirov's theorem
constexpr int kBisections = 100;

// P(|T| <= t), as finite sums in θ = atan(t / √ν) (Abramowitz and Stegun, 26.7.3 and 26.7.4).
double student_within(double t, std::int64_t freedom) {
  const double angle = std::atan(t / std::sqrt(static_cast<double>(freedom)));
  const double cosine2 = std::cos(angle) * std::cos(angle);
  const bool odd = freedom % 2 != 0;
  double term = odd ? std::cos(angle) : 1.0, sum = odd && freedom == 1 ? 0.0 : term;
  for (std::int64_t k = odd ? 3 : 2; k <= freedom - 2; k += 2) {
    term *= cosine2 * static_cast<double>(k - 1) / static_cast<double>(k);
    sum += term;
  }
  return odd ? 2 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
}

}  // namespace

double student_t(double tail, std::int64_t freedom) {
  double low = 0, high = 1;
  while (1 - student_within(high, freedom) > tail && high < 1e300) high *= 2;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = (low + high) / 2;
    (1 - student_within(middle, freedom) > tail ? low : high) = middle;
  }
  return high;
}

std::vector<std::int64_t> looks_of(std::int64_t pictures, std::int64_t first, double growth, std::int64_t together) {
  std::vector<std::int64_t> looks;
  const auto whole = [&](std::int64_t more) { return (more + together - 1) / together * together; };
  std::int64_t look = whole(first);
  while (look < pictures) {
    looks.push_back(look);
    look += whole(static_cast<std::int64_t>(std::ceil(static_cast<double>(look) * growth)) - look);
  }
  looks.push_back(pictures);
  return looks;
}

double cosine_bound(double length, std::int64_t count, std::int64_t all, double tail) {
  if (count < 2 || !(length > 0)) return -1;
  if (count >= all) return 1;
  const double t = student_t(tail, count - 1);
  const double factor = std::fmax(t * t, kLeastFactor);
  const double left = 1 - static_cast<double>(count) / static_cast<double>(all);
  const double scatter = std::fmax(0, 1 - length * length) / static_cast<double>(count - 1);
  const double error2 = factor * left * scatter / (length * length);  // sin² of the angle
  return error2 < 1 ? std::sqrt(1 - error2) : -1;
}

}  // namespace styleclip
