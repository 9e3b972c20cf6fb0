// What the tables of the sweep's operators and of those with gradients share: contents, numbers of a case, and the bounds of
// results.
//
// Arithmetic of the implementations is float32, unit roundoff u = 2^-24, in any order and with or without fused
// multiplications. A result that is a sum of products, each path to it passing at most k roundings, errs by at most
// gamma(k) = k u / (1 - k u) times the same sum over absolute values (Higham, Accuracy and Stability of Numerical
// Algorithms, 2002, chapter 3). A value stored in a narrower type errs by that type's roundoff more, and by half its smallest
// number.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "accumulate_directions_cases.h"
#include "shuffler.h"

namespace styleclip::cases::tables {

enum class Content {
  kRandom,
  kLarge,     // a thousand times as large: limits clamp, float16 overflows where there is none
  kNaN,       // one element of what is activated or resampled
  kInfinity,  // the same
};

inline const char* name(Content content) {
  switch (content) {
    case Content::kRandom: return "random";
    case Content::kLarge: return "large";
    case Content::kNaN: return "NaN";
    case Content::kInfinity: return "infinity";
  }
  return "";
}

/// Numbers of a case.
class Source {
 public:
  Source(std::uint64_t seed, Type type) : random_(seed), type_(type) {}
  float uniform() { return static_cast<float>(random_() >> 40) * 0x1p-23F - 1.0F; }  // [-1, 1)
  std::vector<float> floats(std::int64_t count, float scale, float shift = 0) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = shift + scale * uniform();
    return values;
  }
  /// Of the case's type.
  std::vector<float> typed(std::int64_t count, float scale) {
    std::vector<float> values = floats(count, scale);
    for (float& value : values) value = rounded(value, type_);
    return values;
  }
  std::size_t below(std::size_t n) { return random_.below(n); }

 private:
  cuda_host::Shuffler random_;
  Type type_;
};

inline std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

inline double gamma(double k) { return k * 0x1p-24 / (1 - k * 0x1p-24); }

struct Kind {
  double roundoff, smallest, largest;  // half the smallest number above zero
};
inline Kind kind(Type type) {
  switch (type) {
    case Type::kFloat32: return {0x1p-24, 0x1p-150, 0x1.fffffep127};
    case Type::kFloat16: return {0x1p-11, 0x1p-25, 65504};
    case Type::kBFloat16: return {0x1p-8, 0x1p-134, 0x1.fep127};
  }
  return {};
}

/// What a result may be.
struct Bound {
  double value = 0, error = 0;
};

/// As it is when stored.
inline Bound stored(const Bound& x, Type type) {
  const Kind of = kind(type);
  return {x.value, x.error + of.roundoff * (std::fabs(x.value) + x.error) + of.smallest};
}

inline bool agrees(double got, const Bound& wanted, Type type) {
  if (std::isnan(wanted.value)) return std::isnan(got);
  // Clamped or infinite, whatever the size of what went in: exact.
  if (!std::isfinite(wanted.error)) return got == wanted.value;
  if (std::isinf(got)) {  // too large for the type, or it may be
    return std::signbit(got) == std::signbit(wanted.value) &&
           std::fabs(wanted.value) + wanted.error >= kind(type).largest;
  }
  return std::fabs(got - wanted.value) <= wanted.error;
}

inline std::string fault(const char* what, std::size_t at, double got, const Bound& wanted) {
  std::ostringstream text;
  text.precision(9);
  text << what << "[" << at << "] is " << got << ", not " << wanted.value << " within " << wanted.error;
  return text.str();
}

}  // namespace styleclip::cases::tables
