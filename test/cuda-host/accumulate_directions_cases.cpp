#include "accumulate_directions_cases.h"

#include <cmath>
#include <limits>
#include <sstream>

#include "half_types.h"
#include "shuffler.h"

namespace styleclip::cases {
namespace {

/// The next value of the type away from zero.
float next_up(float x, Type type) {
  if (x == 0) return x;
  if (type == Type::kFloat32) return std::nextafterf(x, x > 0 ? INFINITY : -INFINITY);
  if (type == Type::kFloat16) {
    return __half2float({static_cast<std::uint16_t>(__float2half(x).bits + 1)});
  }
  return __bfloat162float({static_cast<std::uint16_t>(__float2bfloat16(x).bits + 1)});
}

/// Scale of an embedding's elements: of the order of CLIP's (1e-2..1) unless the case asks for an extreme.
float element_scale(const Case& which) {
  const bool half = which.type == Type::kFloat16;
  if (which.content == Content::kLarge) return half ? 3e4f : 1e38f;
  if (which.content == Content::kSmall) return half ? 2e-6f : 1e-38f;
  return 0.5f;
}

bool is_equal_pair(const Case& which, std::int64_t image) {
  return which.content == Content::kAllEqual || (which.content == Content::kSomeEqual && image % 3 == 1);
}

/// Relative error bound of a sum of n terms of one sign, in any order (Higham, Accuracy and Stability, 2002,
/// section 4.2).
double gamma(double n, double roundoff) { return n * roundoff / (1 - n * roundoff); }

struct Expected {
  long double value = 0;
  double error = 0;
};

std::string difference(const char* what, std::int64_t channel, std::int64_t element, double got,
                       const Expected& wanted) {
  std::ostringstream text;
  text.precision(17);
  text << what << "[" << channel;
  if (element >= 0) text << ", " << element;
  text << "] is " << got << ", not " << static_cast<double>(wanted.value) << " within " << wanted.error;
  return text.str();
}

bool agrees(double got, const Expected& wanted) {
  if (std::isnan(wanted.value)) return std::isnan(got);
  return std::fabs(static_cast<long double>(got) - wanted.value) <= wanted.error;
}

}  // namespace

float rounded(float x, Type type) {
  switch (type) {
    case Type::kFloat32: return x;
    case Type::kFloat16: return __half2float(__float2half(x));
    case Type::kBFloat16: return __bfloat162float(__float2bfloat16(x));
  }
  return x;
}

const char* name(Type type) {
  switch (type) {
    case Type::kFloat32: return "float32";
    case Type::kFloat16: return "float16";
    case Type::kBFloat16: return "bfloat16";
  }
  return "";
}

const char* name(Layout layout) {
  switch (layout) {
    case Layout::kContiguous: return "contiguous";
    case Layout::kPaddedRows: return "padded rows";
    case Layout::kOffset: return "offset";
    case Layout::kImagesFirst: return "images first";
    case Layout::kSharedMinus: return "shared minus";
  }
  return "";
}

const char* name(Content content) {
  switch (content) {
    case Content::kRandom: return "random";
    case Content::kNearlyEqual: return "nearly equal";
    case Content::kSomeEqual: return "some equal";
    case Content::kAllEqual: return "all equal";
    case Content::kLarge: return "large";
    case Content::kSmall: return "small";
    case Content::kZeroRow: return "zero row";
    case Content::kNaN: return "NaN";
    case Content::kInfinity: return "infinity";
  }
  return "";
}

std::string name(const Case& which) {
  std::ostringstream text;
  text << "accumulate_directions [" << which.channels << ", " << which.images << ", " << which.dim << "] "
       << name(which.type) << ", " << name(which.layout) << ", " << name(which.content);
  return text.str();
}

std::vector<Case> all_cases(Table table) {
  std::vector<Case> cases;
  const Type types[] = {Type::kFloat32, Type::kFloat16, Type::kBFloat16};
  if (table == Table::kThreads) {
    for (const Type type : types) cases.push_back({2, 3, 64, type});
    cases.push_back({3, 9, 100, Type::kFloat32, Layout::kPaddedRows});
    cases.push_back({2, 5, 600, Type::kFloat32});  // two warps a row
    cases.push_back({1, 1, 2000, Type::kFloat16});
    return cases;
  }
  // Sizes around every edge of the kernel: lanes, vectors, tiles, parts; one image, full and ragged rounds of eight.
  for (const std::int64_t dim :
       {1, 3, 31, 32, 33, 63, 64, 100, 127, 128, 129, 511, 512, 513, 768, 1000, 1024, 1025, 1280}) {
    cases.push_back({2, 3, dim});
  }
  for (const std::int64_t images : {1, 2, 7, 8, 9, 16, 17}) cases.push_back({2, images, 130});
  for (const std::int64_t images : {1, 2, 3, 4, 5}) cases.push_back({2, images, 1024});
  for (const Type type : types) {
    cases.push_back({2, type == Type::kFloat32 ? 100 : 20, 512, type});
    cases.push_back({1, 20, 1024, type});
    cases.push_back({1, 2, 4096, type});
    cases.push_back({17, 1, 64, type});
    for (const Layout layout : {Layout::kPaddedRows, Layout::kOffset, Layout::kImagesFirst, Layout::kSharedMinus}) {
      cases.push_back({3, 9, 256, type, layout});
      cases.push_back({2, 3, 768, type, layout});
    }
    for (const Content content : {Content::kNearlyEqual, Content::kSomeEqual, Content::kAllEqual, Content::kLarge,
                                  Content::kSmall, Content::kZeroRow, Content::kNaN, Content::kInfinity}) {
      if (table == Table::kAll) cases.push_back({3, 10, 200, type, Layout::kContiguous, content});
      cases.push_back({2, 5, 640, type, Layout::kContiguous, content});
    }
  }
  cases.push_back({0, 3, 64});
  cases.push_back({3, 0, 64});
  return cases;
}

Inputs make_inputs(const Case& which, std::uint64_t seed) {
  cuda_host::Shuffler random(seed);
  const auto uniform = [&random] { return static_cast<float>(random() >> 40) * 0x1p-23f - 1.0f; };  // [-1, 1)
  const auto rows = static_cast<std::size_t>(which.channels * which.images);
  const auto dim = static_cast<std::size_t>(which.dim);
  const float scale = element_scale(which);
  Inputs inputs;
  inputs.plus.resize(rows * dim);
  inputs.minus.resize(rows * dim);
  for (std::size_t row = 0; row < rows; ++row) {
    const auto image = static_cast<std::int64_t>(row) % which.images;
    const bool shared = which.layout == Layout::kSharedMinus && image > 0;
    for (std::size_t i = 0; i < dim; ++i) {
      const std::size_t at = row * dim + i;
      const float base = rounded(scale * uniform(), which.type);
      if (shared) {
        inputs.minus[at] = inputs.minus[at - dim];
        inputs.plus[at] = rounded(inputs.minus[at] + 0.1f * scale * uniform(), which.type);
        continue;
      }
      inputs.minus[at] = base;
      if (which.dim ==
          1) {  // a number has a direction of +1 or -1 only: opposite ones, since rounding decides equal ones
        inputs.plus[at] = -base;
      } else if (is_equal_pair(which, image)) {
        inputs.plus[at] = base;
      } else if (which.content == Content::kNearlyEqual) {
        inputs.plus[at] = i == dim / 2 ? next_up(base, which.type) : base;
      } else {
        inputs.plus[at] = rounded(0.9f * base + 0.1f * scale * uniform(), which.type);
      }
    }
  }
  if (rows > 0) {  // the last row: only the last channel is spoilt
    float* row = inputs.plus.data() + (rows - 1) * dim;
    if (which.content == Content::kZeroRow) std::fill(row, row + dim, 0.0f);
    if (which.content == Content::kNaN) row[dim / 2] = std::numeric_limits<float>::quiet_NaN();
    if (which.content == Content::kInfinity) row[dim / 2] = std::numeric_limits<float>::infinity();
  }
  for (std::int64_t i = 0; i < which.channels * which.dim; ++i) inputs.sum.push_back(uniform());
  for (std::int64_t i = 0; i < which.channels; ++i) {
    inputs.magnitude.push_back(1 + uniform());
    inputs.count.push_back(static_cast<std::int64_t>(random.below(1000)));
  }
  return inputs;
}

Strides strides(const Case& which, bool minus) {
  const std::int64_t dim = which.dim;
  switch (which.layout) {
    case Layout::kPaddedRows: return {0, which.images * (dim + 3), dim + 3, which.channels * which.images * (dim + 3)};
    case Layout::kOffset: return {1, which.images * dim, dim, which.channels * which.images * dim + 1};
    case Layout::kImagesFirst: return {0, dim, which.channels * dim, which.channels * which.images * dim};
    case Layout::kSharedMinus:
      if (minus) return {0, dim, 0, which.channels * dim};
      break;
    case Layout::kContiguous: break;
  }
  return {0, which.images * dim, dim, which.channels * which.images * dim};
}

// The reference computes in long double (64 bits of mantissa where the tests run), so its own error is 2^-11 of the
// bound. With roundoff u and n = dim: a length's square errs by gamma(n), its reciprocal root by half of that and 2u, a
// unit element by u more: unit = gamma(n)/2 + 3u, relative. A difference d_i errs by unit (|f+_i| + |f-_i|) + u |d_i|,
// so the vector d by at most 2 unit + u |d|; |d| by that and |d| (gamma(n)/2 + 3u); d_i / |d| by the sum of the
// relative errors of both and 2u. The sums over images add gamma(images + 1) of the sum of absolute values. 1.01 covers
// products of errors.
std::string compare(const Case& which, const Inputs& inputs, const Results& results, double roundoff) {
  const double root = gamma(static_cast<double>(which.dim), roundoff) / 2 + 3 * roundoff;
  const double summation = gamma(static_cast<double>(which.images + 1), 0x1p-53);
  const auto dim = static_cast<std::size_t>(which.dim);
  std::vector<long double> d(dim);
  for (std::int64_t channel = 0; channel < which.channels; ++channel) {
    const auto c = static_cast<std::size_t>(channel);
    std::vector<Expected> sum(dim);
    std::vector<double> absolute(dim);
    for (std::size_t i = 0; i < dim; ++i) {
      sum[i].value = inputs.sum[c * dim + i];
      absolute[i] = std::fabs(inputs.sum[c * dim + i]);
    }
    Expected magnitude{inputs.magnitude[c], 0};
    double absolute_magnitude = std::fabs(inputs.magnitude[c]);
    std::int64_t count = inputs.count[c];
    for (std::int64_t image = 0; image < which.images; ++image) {
      const std::size_t row = static_cast<std::size_t>(channel * which.images + image) * dim;
      long double plus_square = 0, minus_square = 0, square = 0;
      for (std::size_t i = 0; i < dim; ++i) {
        plus_square += static_cast<long double>(inputs.plus[row + i]) * inputs.plus[row + i];
        minus_square += static_cast<long double>(inputs.minus[row + i]) * inputs.minus[row + i];
      }
      const long double plus_length = std::sqrt(plus_square), minus_length = std::sqrt(minus_square);
      for (std::size_t i = 0; i < dim; ++i) {
        d[i] = inputs.plus[row + i] / plus_length - inputs.minus[row + i] / minus_length;
        square += d[i] * d[i];
      }
      if (square == 0) continue;
      const long double length = std::sqrt(square);
      const auto l = static_cast<double>(length);
      const double length_error = 2 * root + roundoff * l + l * root;
      magnitude.value += length;
      magnitude.error += length_error;
      absolute_magnitude += l;
      count += length > 0;
      for (std::size_t i = 0; i < dim; ++i) {
        const long double unit = d[i] / length;
        const double u = std::fabs(static_cast<double>(unit));
        const auto parts = static_cast<double>(std::fabs(inputs.plus[row + i]) / plus_length +
                                               std::fabs(inputs.minus[row + i]) / minus_length);
        sum[i].value += unit;
        sum[i].error += (root * parts + roundoff * u * l) / l + u * length_error / l + 2 * roundoff * u;
        absolute[i] += u;
      }
    }
    for (std::size_t i = 0; i < dim; ++i) {
      sum[i].error = 1.01 * (sum[i].error + summation * absolute[i]);
      const double got = results.sum[c * dim + i];
      if (!agrees(got, sum[i])) return difference("sum", channel, static_cast<std::int64_t>(i), got, sum[i]);
    }
    magnitude.error = 1.01 * (magnitude.error + summation * absolute_magnitude);
    if (!agrees(results.magnitude[c], magnitude)) {
      return difference("magnitude", channel, -1, results.magnitude[c], magnitude);
    }
    if (results.count[c] != count) {
      return difference("count", channel, -1, static_cast<double>(results.count[c]),
                        {static_cast<long double>(count), 0});
    }
  }
  return "";
}

}  // namespace styleclip::cases
