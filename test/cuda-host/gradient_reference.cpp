// The reference of the operators with gradients in float64, and its bounds (tables.h). The slopes √2 and 0.2 √2 and their
// reciprocals count as four roundings.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "gradient_cases.h"

namespace styleclip::cases::gradients {
namespace {

using namespace tables;

constexpr double kRoot = 1.4142135623730951;
constexpr double kSlope = 4;  // roundings

/// A sum and the sum of its absolute values.
struct Sum {
  double value = 0, absolute = 0;
  void add(double summand) { add(summand, std::fabs(summand)); }
  void add(double summand, double absolute_of_it) {
    value += summand;
    absolute += absolute_of_it;
  }
};

/// `sum` after `roundings`, stored in `type`.
Bound stored(const Sum& sum, double roundings, Type type) {
  return tables::stored({sum.value, std::isfinite(sum.absolute) ? gamma(roundings) * sum.absolute : 0}, type);
}

std::string check(const char* what, const std::vector<float>& got, std::int64_t count, Type type,
                  const std::function<Bound(std::int64_t)>& wanted) {
  if (static_cast<std::int64_t>(got.size()) != count) return std::string(what) + ": other sizes";
  for (std::int64_t i = 0; i < count; ++i) {
    const Bound bound = wanted(i);
    if (agrees(got[index(i)], bound, type)) continue;
    return fault(what, index(i), got[index(i)], bound);
  }
  return "";
}

// ---------------------------------------------------------------------------------------------------------------------
// The ends of layers

class Layer {
 public:
  Layer(const Case& which, const Inputs& in, const Results& got)
      : which_(which),
        in_(in),
        got_(got),
        n_(which.n),
        channels_(which.channels),
        pixels_(which.h * which.w),
        filters_(which.op == Op::kFilterStyledActivate) {}

  std::string compare() const {
    const std::int64_t more = filters_ ? 1 : 0;
    std::string fault = check("y", got_.y, n_ * pixels_ * channels_, which_.type, [&](std::int64_t i) {
      return forward(i / channels_ / pixels_, i / channels_ % pixels_, i % channels_);
    });
    const auto next = [&](const std::string& found) {
      if (fault.empty()) fault = found;
    };
    if (!fault.empty()) return fault;
    const std::int64_t source = (which_.h + more) * (which_.w + more);
    next(check("to_x", got_.to_x, n_ * source * channels_, which_.type,
               [&](std::int64_t i) { return to_x(i / channels_ / source, i / channels_ % source, i % channels_); }));
    if (which_.gain) {
      next(check("to_gain", got_.to_gain, n_ * channels_, Type::kFloat32,
                 [&](std::int64_t i) { return to_gain(i / channels_, i % channels_); }));
    }
    next(check("to_bias", got_.to_bias, channels_, Type::kFloat32, [&](std::int64_t o) {
      Sum sum;
      for (std::int64_t i = 0; i < n_ * pixels_; ++i) sum.add(of_sum(i / pixels_, i % pixels_, o));
      return stored(sum, kSlope + 1 + static_cast<double>(n_ * pixels_), Type::kFloat32);
    }));
    if (which_.noise != Noise::kNone) {
      const bool each = which_.noise == Noise::kEach;
      next(check("to_noise", got_.to_noise, (each ? n_ : 1) * pixels_, Type::kFloat32, [&](std::int64_t i) {
        Sum sum;
        for (std::int64_t n = each ? i / pixels_ : 0; n < (each ? i / pixels_ + 1 : n_); ++n) {
          for (std::int64_t o = 0; o < channels_; ++o) sum.add(of_sum(n, i % pixels_, o));
        }
        return stored(sum, kSlope + 1 + static_cast<double>(n_ * channels_), Type::kFloat32);
      }));
    }
    return fault;
  }

 private:
  double gain(std::int64_t n, std::int64_t o) const {
    return in_.gain.empty() ? 1.0 : static_cast<double>(in_.gain[index(n * channels_ + o)]);
  }
  double noise(std::int64_t n, std::int64_t pixel) const {
    if (in_.noise.empty()) return 0;
    return in_.noise[index(which_.noise == Noise::kEach ? n * pixels_ + pixel : pixel)];
  }
  double y(std::int64_t n, std::int64_t pixel, std::int64_t o) const {
    return got_.y[index((n * pixels_ + pixel) * channels_ + o)];
  }
  bool clamped(double y) const { return std::fabs(y) >= in_.limit; }
  /// The gradient to the sum that is activated.
  double of_sum(std::int64_t n, std::int64_t pixel, std::int64_t o) const {
    const double result = y(n, pixel, o);
    if (clamped(result)) return 0;
    return in_.gradient[index((n * pixels_ + pixel) * channels_ + o)] * (result > 0 ? kRoot : 0.2 * kRoot);
  }

  Bound forward(std::int64_t n, std::int64_t pixel, std::int64_t o) const {
    Sum x;
    if (filters_) {
      const std::int64_t row = pixel / which_.w, column = pixel % which_.w, width = which_.w + 1;
      for (std::int64_t tap = 0; tap < 16; ++tap) {
        const std::int64_t at = row + tap / 4 - 1, across = column + tap % 4 - 1;
        if (at < 0 || at > which_.h || across < 0 || across >= width) continue;
        x.add(static_cast<double>(in_.filter[index(tap / 4)]) * in_.filter[index(tap % 4)] *
              in_.x[index(((n * (which_.h + 1) + at) * width + across) * channels_ + o)]);
      }
    } else {
      x.add(in_.x[index((n * pixels_ + pixel) * channels_ + o)]);
    }
    Sum sum;
    sum.add(gain(n, o) * x.value, std::fabs(gain(n, o)) * x.absolute);
    sum.add(noise(n, pixel));
    sum.add(in_.bias[index(o)]);
    sum.value *= sum.value > 0 ? kRoot : 0.2 * kRoot;
    sum.absolute *= kRoot;
    if (sum.value > in_.limit) sum.value = in_.limit;
    if (sum.value < -in_.limit) sum.value = -in_.limit;
    return stored(sum, kSlope + (filters_ ? 24 : 4), which_.type);
  }

  Bound to_x(std::int64_t n, std::int64_t pixel, std::int64_t o) const {
    Sum sum;
    if (!filters_) {
      sum.add(of_sum(n, pixel, o) * gain(n, o));
      return stored(sum, kSlope + 3, which_.type);
    }
    const std::int64_t row = pixel / (which_.w + 1), column = pixel % (which_.w + 1);
    for (std::int64_t tap = 0; tap < 16; ++tap) {  // t[q] reaches y[q - (i, j) + 1]
      const std::int64_t at = row - tap / 4 + 1, across = column - tap % 4 + 1;
      if (at < 0 || at >= which_.h || across < 0 || across >= which_.w) continue;
      sum.add(static_cast<double>(in_.filter[index(tap / 4)]) * in_.filter[index(tap % 4)] * gain(n, o) *
              of_sum(n, at * which_.w + across, o));
    }
    return stored(sum, kSlope + 24, which_.type);
  }

  Bound to_gain(std::int64_t n, std::int64_t o) const {
    if (gain(n, o) == 0) return {std::numeric_limits<double>::quiet_NaN(), 0};  // y does not tell x
    Sum sum;
    for (std::int64_t pixel = 0; pixel < pixels_; ++pixel) {
      const double result = y(n, pixel, o), of = of_sum(n, pixel, o), bias = in_.bias[index(o)];
      if (clamped(result)) continue;
      const double before = result / (result > 0 ? kRoot : 0.2 * kRoot);
      sum.add(of * (before - noise(n, pixel) - bias),
              std::fabs(of) * (std::fabs(before) + std::fabs(noise(n, pixel)) + std::fabs(bias)));
    }
    sum.value /= gain(n, o);
    sum.absolute /= std::fabs(gain(n, o));
    return stored(sum, 2 * kSlope + 6 + static_cast<double>(pixels_), Type::kFloat32);
  }

  const Case& which_;
  const Inputs& in_;
  const Results& got_;
  std::int64_t n_, channels_, pixels_;
  bool filters_;
};

// ---------------------------------------------------------------------------------------------------------------------
// The resampling: V x Hᵀ, and backwards Vᵀ g H

/// One number of A x Bᵀ, where a(i) and b(j) are the row of A and of B that it takes.
Bound resampled(const std::function<double(std::int64_t)>& a, const std::function<double(std::int64_t)>& b,
                const float* plane, std::int64_t h, std::int64_t w, Type type) {
  Sum sum;
  for (std::int64_t i = 0; i < h; ++i) {
    for (std::int64_t j = 0; j < w; ++j) sum.add(a(i) * b(j) * plane[i * w + j]);
  }
  return stored(sum, static_cast<double>(h + w + 4), type);
}

std::string compare_resample(const Case& which, const Inputs& in, const Results& got) {
  const std::int64_t planes = which.n * which.channels, h = which.h, w = which.w, to_h = which.to_h, to_w = which.to_w;
  const std::string fault = check("y", got.y, planes * to_h * to_w, which.type, [&](std::int64_t at) {
    const std::int64_t row = at / to_w % to_h, column = at % to_w;
    return resampled([&](std::int64_t i) { return in.vertical[index(row * h + i)]; },
                     [&](std::int64_t j) { return in.horizontal[index(column * w + j)]; },
                     in.x.data() + at / to_w / to_h * h * w, h, w, which.type);
  });
  if (!fault.empty()) return fault;
  return check("to_x", got.to_x, planes * h * w, which.type, [&](std::int64_t at) {
    const std::int64_t row = at / w % h, column = at % w;
    return resampled([&](std::int64_t i) { return in.vertical[index(i * h + row)]; },
                     [&](std::int64_t j) { return in.horizontal[index(j * w + column)]; },
                     in.gradient.data() + at / w / h * to_h * to_w, to_h, to_w, which.type);
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// The loss: sums are float64, so that what is stored in float32 errs by its own rounding and little else

struct Distance {
  double value = 1;
  std::vector<double> gradient;
};

double length(const float* x, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
  return std::sqrt(sum);
}

/// The mean over `count` rows of 1 − cos, and its gradient to x.
Distance distance(const float* x, const float* rows, std::int64_t count, std::int64_t dim) {
  Distance result;
  result.gradient.assign(index(dim), 0);
  const double own = length(x, dim);
  if (own == 0) return result;
  for (std::int64_t t = 0; t < count; ++t) {
    const float* row = rows + t * dim;
    const double other = length(row, dim);
    if (other == 0) continue;
    double cosine = 0;
    for (std::int64_t i = 0; i < dim; ++i) cosine += static_cast<double>(x[i]) * row[i] / own / other;
    result.value -= cosine / static_cast<double>(count);
    for (std::int64_t i = 0; i < dim; ++i) {
      result.gradient[index(i)] += (cosine * x[i] / own - row[i] / other) / own / static_cast<double>(count);
    }
  }
  return result;
}

/// `scale`: of the summands, whose float64 rounding cancels nothing.
Bound float_of(double value, double scale) {
  Sum sum;
  sum.value = value;
  Bound bound = stored(sum, 0, Type::kFloat32);
  bound.error += 1e-12 * scale;
  return bound;
}

std::string compare_loss(const Case& which, const Inputs& in, const Results& got) {
  const std::int64_t n = which.n, dim = which.channels, numbers = which.h * which.w, faces = which.faces;
  const double share = which.mean ? 1 / static_cast<double>(numbers) : 1;
  std::vector<Distance> clip, id;
  std::vector<double> l2;
  for (std::int64_t k = 0; k < n; ++k) {
    clip.push_back(distance(in.embedding.data() + k * dim,
                            in.text.data() + (which.text_each ? k * which.texts * dim : 0), which.texts, dim));
    id.emplace_back();
    id.back().value = 0;
    if (faces > 0)
      id.back() = distance(in.identity.data() + k * faces, in.source_identity.data() + k * faces, 1, faces);
    double sum = 0;
    for (std::int64_t i = k * numbers; i < (k + 1) * numbers; ++i) {
      const double change = static_cast<double>(in.latents[index(i)]) - in.source[index(i)];
      sum += change * change;
    }
    l2.push_back(share * sum);
  }
  std::string fault = check("total", got.total, n, Type::kFloat32, [&](std::int64_t k) {
    const double scale = 1 + l2[index(k)];
    return float_of(
        in.lambda_clip * clip[index(k)].value + in.lambda_l2 * l2[index(k)] + in.lambda_id * id[index(k)].value, scale);
  });
  const auto next = [&](const std::string& found) {
    if (fault.empty()) fault = found;
  };
  next(check("parts", got.parts, 3 * n, Type::kFloat32, [&](std::int64_t i) {
    const std::size_t k = index(i / 3);
    return i % 3 == 1 ? float_of(l2[k], l2[k]) : float_of(i % 3 == 0 ? clip[k].value : id[k].value, 1);
  }));
  next(check("to_embedding", got.to_embedding, n * dim, Type::kFloat32, [&](std::int64_t i) {
    const double size = length(in.embedding.data() + i / dim * dim, dim);
    return float_of(in.lambda_clip * clip[index(i / dim)].gradient[index(i % dim)], size == 0 ? 0 : 1 / size);
  }));
  next(check("to_latents", got.to_latents, n * numbers, Type::kFloat32, [&](std::int64_t i) {
    const double change = static_cast<double>(in.latents[index(i)]) - in.source[index(i)];
    return float_of(2 * share * in.lambda_l2 * change, 0);
  }));
  if (faces > 0) {
    next(check("to_identity", got.to_identity, n * faces, Type::kFloat32, [&](std::int64_t i) {
      const double size = length(in.identity.data() + i / faces * faces, faces);
      return float_of(in.lambda_id * id[index(i / faces)].gradient[index(i % faces)], size == 0 ? 0 : 1 / size);
    }));
  }
  return fault;
}

}  // namespace

std::string compare(const Case& which, const Inputs& inputs, const Results& results) {
  if (which.op == Op::kEditLoss) return compare_loss(which, inputs, results);
  if (which.op == Op::kResample) return compare_resample(which, inputs, results);
  return Layer(which, inputs, results).compare();
}

}  // namespace styleclip::cases::gradients
