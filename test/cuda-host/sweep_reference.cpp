// The reference of the exact sweep's operators in float64, and its bounds (tables.h). Leaky ReLU and clamp do not enlarge an
// error; the slope 0.2 and its product count as two roundings.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "sweep_cases.h"

namespace styleclip::cases::sweep {
namespace {

using namespace tables;
using Value = Bound;

/// Infinity among the summands leaves infinity or, clamped, the limit, exactly.
double error_of(double relative, double absolute) { return std::isfinite(absolute) ? relative * absolute : 0; }

/// As it is after a layer's end: `sum` with `absolute`, the sum of absolute values, bias and noise included, and `roundings`
/// up to the sum.
Value activated(double sum, double absolute, double roundings, double limit) {
  const double y = sum > 0 ? sum : 0.2 * sum;
  const double clamped = y > limit ? limit : y < -limit ? -limit : y;
  return {clamped, error_of(gamma(roundings + 2), absolute)};
}

double noise_at(const Inputs& inputs, std::int64_t pixel) {
  return inputs.noise.empty() ? 0.0 : static_cast<double>(inputs.noise[index(pixel)]);
}

/// One number of y, unstored. Activations are [n, r, r, channels].
Value perturbed(const Case& which, const Inputs& in, std::int64_t picture, std::int64_t pixel, std::int64_t o) {
  const std::int64_t k = picture % which.n, width = which.r + 2;
  const std::int64_t row = pixel / which.r, column = pixel % which.r;
  double v = 0, absolute = 0;
  for (std::int64_t tap = 0; tap < 9; ++tap) {
    const double product = static_cast<double>(in.taps[index((k * 9 + tap) * which.channels + o)]) *
                           in.planes[index((k * width + row + tap / 3) * width + column + tap % 3)];
    v += product;
    absolute += std::fabs(product);
  }
  const double step = in.steps[index(picture)], gain = in.gains[index(picture * which.channels + o)];
  const double linear = in.linear[index(pixel * which.channels + o)];
  const double noise = noise_at(in, pixel), bias = in.bias[index(o)];
  const double sum = gain * (linear + step * v) + noise + bias;
  absolute = std::fabs(gain) * (std::fabs(linear) + std::fabs(step) * absolute) + std::fabs(noise) + std::fabs(bias);
  return activated(sum, absolute, 14, in.limit);  // 9 products and their sum, step, linear, gain, noise, bias
}

Value filtered(const Case& which, const Inputs& in, std::int64_t picture, std::int64_t pixel, std::int64_t o) {
  const std::int64_t source = which.r + 1, row = pixel / which.r, column = pixel % which.r;
  double sum = 0, absolute = 0;
  for (std::int64_t i = 0; i < 4; ++i) {
    for (std::int64_t j = 0; j < 4; ++j) {
      const std::int64_t y = row + i - 1, x = column + j - 1;
      if (y < 0 || y >= source || x < 0 || x >= source) continue;
      const double product = static_cast<double>(in.filter[index(i)]) * in.filter[index(j)] *
                             in.t[index(((picture * source + y) * source + x) * which.channels + o)];
      sum += product;
      absolute += std::fabs(product);
    }
  }
  const double noise = noise_at(in, pixel), bias = in.bias[index(o)];
  // Up to 16 products of three factors, noise, bias.
  return activated(sum + noise + bias, absolute + std::fabs(noise) + std::fabs(bias), 20, in.limit);
}

Value activated_in_place(const Case& which, const Inputs& in, std::int64_t picture, std::int64_t pixel,
                         std::int64_t o) {
  const double y = in.y[index((picture * which.r * which.r + pixel) * which.channels + o)];
  if (which.op == Op::kAddToCanvas) return {y, 0};
  const double noise = noise_at(in, pixel), bias = in.bias[index(o)];
  return activated(y + noise + bias, std::fabs(y) + std::fabs(noise) + std::fabs(bias), 2, in.limit);
}

/// convolve_to_canvas' convolution, as it may be stored before the layer's end, [n, r, r, channels]. A tensor core adds
/// 16 products and what was there before by cutting off where float32 rounds (Fasi et al., Numerical behavior of NVIDIA
/// tensor cores, 2021), so each of these terms counts twice.
std::vector<Value> convolved(const Case& which, const Inputs& in) {
  std::vector<Value> sums;
  const std::int64_t r = which.r;
  for (std::int64_t i = 0; i < which.n * r * r * which.channels; ++i) {
    const std::int64_t o = i % which.channels, column = i / which.channels % r, row = i / which.channels / r % r;
    double sum = 0, absolute = 0;
    for (std::int64_t tap = 0; tap < 9; ++tap) {
      const std::int64_t y = row + tap / 3 - 1, x = column + tap % 3 - 1;
      if (y < 0 || y >= r || x < 0 || x >= r) continue;
      const std::int64_t pixel = (i / which.channels / r / r * r + y) * r + x;
      for (std::int64_t c = 0; c < which.inputs; ++c) {
        const double product = static_cast<double>(in.x[index(pixel * which.inputs + c)]) *
                               in.kernel[index((o * 9 + tap) * which.inputs + c)];
        sum += product;
        absolute += std::fabs(product);
      }
    }
    const double terms = 9 * static_cast<double>(which.inputs);
    const Value exact{sum, error_of(gamma(2 * (terms + terms / 16)), absolute)};
    sums.push_back(std::isfinite(absolute) ? stored(exact, which.type) : exact);
  }
  return sums;
}

/// As it is after its layer's end.
Value activated_sum(const Case& which, const Inputs& in, const std::vector<Value>& sums, std::int64_t picture,
                    std::int64_t pixel, std::int64_t o) {
  const Value& sum = sums[index((picture * which.r * which.r + pixel) * which.channels + o)];
  const double noise = noise_at(in, pixel), bias = in.bias[index(o)];
  const double absolute = std::fabs(sum.value) + sum.error + std::fabs(noise) + std::fabs(bias);
  Value y = activated(sum.value + noise + bias, absolute, 2, in.limit);
  y.error += sum.error;
  return y;
}

Value new_y(const Case& which, const Inputs& in, const std::vector<Value>& sums, std::int64_t picture,
            std::int64_t pixel, std::int64_t o) {
  if (which.op == Op::kConvolveToCanvas) return activated_sum(which, in, sums, picture, pixel, o);
  if (which.op == Op::kPerturbChannels) return perturbed(which, in, picture, pixel, o);
  if (which.op == Op::kFilterActivate) return filtered(which, in, picture, pixel, o);
  return activated_in_place(which, in, picture, pixel, o);
}

std::string compare_y(const Case& which, const Inputs& in, const std::vector<Value>& sums,
                      const std::vector<float>& got) {
  if (got.size() != index(y_size(which))) return "y has another size";
  const std::int64_t pictures = (which.op == Op::kPerturbChannels ? 2 : 1) * which.n, pixels = which.r * which.r;
  std::size_t at = 0;
  for (std::int64_t picture = 0; picture < pictures; ++picture) {
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
      for (std::int64_t o = 0; o < which.channels; ++o, ++at) {
        const Value wanted = stored(new_y(which, in, sums, picture, pixel, o), which.type);
        if (!agrees(got[at], wanted, which.type)) return fault("y", at, got[at], wanted);
      }
    }
  }
  return "";
}

/// One color of a pixel, clamped.
Value color_of(const Case& which, const Inputs& in, const std::vector<Value>& sums, std::int64_t picture,
               std::int64_t pixel, std::int64_t color) {
  double sum = in.rgb_bias[index(color)], absolute = std::fabs(sum), error = 0;
  for (std::int64_t o = 0; o < which.channels; ++o) {
    Value y = new_y(which, in, sums, picture, pixel, o);
    if (may_keep(which.op)) y = stored(y, which.type);  // the activation may be rounded to y's type before, or not
    const double weight = in.weight[index(color * which.channels + o)];
    sum += weight * y.value;
    absolute += std::fabs(weight * y.value);
    error += std::fabs(weight) * y.error;
  }
  const double clamped = sum > in.rgb_limit ? in.rgb_limit : sum < -in.rgb_limit ? -in.rgb_limit : sum;
  const double k = static_cast<double>(which.channels) + 1;
  return {clamped, error_of(gamma(k), absolute + error) + (std::isfinite(absolute) ? error : 0)};
}

/// Sums along one direction: out [rows, size] = in [rows, r] matrixᵀ, with absolute values and errors; NaN where a NaN has a
/// share.
struct Plane {
  std::vector<Value> values;
  std::vector<double> absolute;
};
Plane transposed_product(const Plane& plane, const std::vector<float>& matrix, std::int64_t rows, std::int64_t r,
                         std::int64_t size) {
  // The result is [size, rows]: twice in a row gives [size, size] upright.
  Plane result{std::vector<Value>(index(size * rows)), std::vector<double>(index(size * rows))};
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::int64_t j = 0; j < r; ++j) {
      const double weight = matrix[index(i * r + j)];
      if (weight == 0) continue;
      for (std::int64_t row = 0; row < rows; ++row) {
        Value& to = result.values[index(i * rows + row)];
        const Value& from = plane.values[index(row * r + j)];
        to.value += weight * from.value;
        to.error += std::fabs(weight) * from.error;
        result.absolute[index(i * rows + row)] += std::fabs(weight) * plane.absolute[index(row * r + j)];
      }
    }
  }
  return result;
}

/// The most numbers of a row that are not zero.
std::int64_t widest(const std::vector<float>& matrix, std::int64_t r, std::int64_t size) {
  std::int64_t most = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    const auto row = matrix.begin() + i * r;
    most = std::max<std::int64_t>(most, r - std::count(row, row + r, 0.0F));
  }
  return most;
}

/// Which numbers of a canvas a pixel reaches through a matrix's bands: from a row's first number that is not zero to its
/// last, zeros between them included.
class Reach {
 public:
  Reach(const std::vector<float>& matrix, std::int64_t r, std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) {
      std::int64_t first = i, end = i + 1;  // of no matrix
      if (!matrix.empty()) {
        const float* row = matrix.data() + i * r;
        for (first = 0; first < r && row[first] == 0;) ++first;
        for (end = r; end > first && row[end - 1] == 0;) --end;
      }
      bands_.emplace_back(first, end);
    }
  }
  bool holds(std::int64_t row, std::int64_t column, std::int64_t from_row, std::int64_t from_column) const {
    return within(bands_[index(row)], from_row) && within(bands_[index(column)], from_column);
  }

 private:
  using Band = std::pair<std::int64_t, std::int64_t>;
  static bool within(const Band& band, std::int64_t i) { return i >= band.first && i < band.second; }
  std::vector<Band> bands_;
};

std::string compare_canvas(const Case& which, const Inputs& in, const std::vector<Value>& sums,
                           const std::vector<float>& got, Zeros zeros) {
  const std::int64_t size = canvas_side(which), r = which.r;
  if (got.size() != in.canvas.size()) return "canvas has another size";
  const double taps = in.matrix.empty() ? 0 : static_cast<double>(widest(in.matrix, r, size));
  const Reach reach(in.matrix, r, size);
  for (std::int64_t picture = 0; picture < which.n; ++picture) {
    for (std::int64_t color = 0; color < 3; ++color) {
      Plane plane;
      std::vector<std::int64_t> broken;  // pixels that are NaN
      for (std::int64_t pixel = 0; pixel < r * r; ++pixel) {
        const Value value = color_of(which, in, sums, picture, pixel, color);
        plane.values.push_back(value);
        plane.absolute.push_back(std::fabs(value.value) + value.error);
        if (std::isnan(value.value)) broken.push_back(pixel);
      }
      if (!in.matrix.empty()) {
        plane = transposed_product(plane, in.matrix, r, r, size);     // [size across, r down]
        plane = transposed_product(plane, in.matrix, size, r, size);  // [size down, size across]
      }
      for (std::int64_t i = 0; i < size * size; ++i) {
        const std::size_t at = index((picture * 3 + color) * size * size + i);
        const double before = in.canvas[at];
        Value wanted = plane.values[index(i)];
        wanted.value += before;
        // Each direction a sum of products of `taps`, then one addition or as many as there are terms.
        wanted.error += gamma(2 * taps + 2) * (std::fabs(before) + plane.absolute[index(i)]) + 0x1p-149;
        // A NaN times a zero of the matrix is NaN where an implementation multiplies by it.
        const bool may_be_nan = std::any_of(broken.begin(), broken.end(), [&](std::int64_t pixel) {
          return (zeros == Zeros::kMultiplied && !in.matrix.empty()) ||
                 reach.holds(i / size, i % size, pixel / r, pixel % r);
        });
        if (may_be_nan && std::isnan(got[at])) continue;
        if (!agrees(got[at], wanted, Type::kFloat32)) return fault("canvas", at, got[at], wanted);
      }
    }
  }
  return "";
}

std::string compare_clip_input(const Case& which, const Inputs& in, const std::vector<float>& got) {
  if (got.size() != in.canvas.size()) return "out has another size";
  const std::int64_t size = which.r, patch = which.patch > 0 ? which.patch : size, across = size / patch;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(in.canvas.size()); ++i) {
    const std::int64_t column = i % size, row = i / size % size, color = i / (size * size) % 3;
    const std::int64_t picture = i / (3 * size * size);
    const std::int64_t block = (picture * across + row / patch) * across + column / patch;
    const std::size_t at = index(((block * 3 + color) * patch + row % patch) * patch + column % patch);
    const double x = in.canvas[index(i)], mean = in.mean[index(color)], deviation = in.deviation[index(color)];
    Value wanted{((x + 1) / 2 - mean) / deviation, 0};
    wanted.error = gamma(5) * ((std::fabs(x) + 1) / 2 + std::fabs(mean)) / std::fabs(deviation);
    wanted = stored(wanted, which.type);
    if (!agrees(got[at], wanted, which.type)) return fault("out", at, got[at], wanted);
  }
  return "";
}

}  // namespace

std::string compare(const Case& which, const Inputs& inputs, const Results& results, Zeros zeros) {
  if (which.op == Op::kClipInput) return compare_clip_input(which, inputs, results.y);
  const std::vector<Value> sums = which.op == Op::kConvolveToCanvas ? convolved(which, inputs) : std::vector<Value>();
  if (!to_canvas(which.op) || (may_keep(which.op) && which.keep)) {
    std::string wrong = compare_y(which, inputs, sums, results.y);
    if (!wrong.empty()) return wrong;
  }
  if (which.op == Op::kAddToCanvas && !std::equal(inputs.y.begin(), inputs.y.end(), results.y.begin(), results.y.end(),
                                                  [](float a, float b) { return a == b || (a != a && b != b); })) {
    return "y was written";
  }
  return to_canvas(which.op) ? compare_canvas(which, inputs, sums, results.canvas, zeros) : "";
}

}  // namespace styleclip::cases::sweep
