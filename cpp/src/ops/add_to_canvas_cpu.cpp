// The fast CPU implementations of add_to_canvas and activate_to_canvas. A row of y becomes a row of RGB in the cache and,
// resampled across, three lines of the canvas's width; then every row of the canvas sums the lines it has a share in. Each
// number is summed by one thread in the order of the lines, so that results do not depend on the number of threads.
#include "ops/add_to_canvas.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "ops/rows_cpu.h"

namespace styleclip {
namespace {

constexpr std::int64_t kLanes = 16;  // numbers of the widest register

// line [size] = Σ_j values[j] columns[j], whose numbers outside [first[j], end[j]) are zero.
STYLECLIP_CLONED void spread_columns(const float* __restrict values, std::int64_t r, std::int64_t size,
                                     const float* __restrict columns, const std::int64_t* first,
                                     const std::int64_t* end, float* __restrict line) {
  for (std::int64_t i = 0; i < size; ++i) line[i] = 0;
  for (std::int64_t j = 0; j < r; ++j) {
    const float value = values[j];
    const float* __restrict column = columns + j * size;
#pragma omp simd
    for (std::int64_t i = first[j]; i < end[j]; ++i) line[i] += value * column[i];
  }
}

// line[i] = Σ_j rows[i][j] values[j], whose numbers outside [first[i], end[i]) are zero.
STYLECLIP_CLONED void spread_rows(const float* __restrict values, std::int64_t r, std::int64_t size,
                                  const float* __restrict rows, const std::int64_t* first, const std::int64_t* end,
                                  float* __restrict line) {
  for (std::int64_t i = 0; i < size; ++i) {
    const float* __restrict row = rows + i * r;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = first[i]; j < end[i]; ++j) sum += row[j] * values[j];
    line[i] = sum;
  }
}

// A matrix, and of each of its rows the part [first, end) outside which it is zero, in whole multiples of `step`.
struct Banded {
  Banded() = default;
  explicit Banded(const at::Tensor& matrix, std::int64_t step = 1)
      : data(matrix.contiguous()), rows(matrix.size(0)), columns(matrix.size(1)) {
    for (std::int64_t i = 0; i < rows; ++i) {
      std::int64_t from = 0, to = columns;
      while (to > 0 && row(i)[to - 1] == 0) --to;
      while (from < to && row(i)[from] == 0) ++from;
      first.push_back(from / step * step);
      end.push_back(std::min(columns, (to + step - 1) / step * step));
    }
  }
  const float* row(std::int64_t i) const { return data.const_data_ptr<float>() + i * columns; }

  at::Tensor data;  // undefined: there is none
  std::int64_t rows = 0, columns = 0;
  std::vector<std::int64_t> first, end;
};

// The resampling matrix [size, r]; undefined: the identity. Where it enlarges, its columns are longer than its rows.
class Band {
 public:
  Band(const at::Tensor& matrix, std::int64_t r) : size_(matrix.defined() ? matrix.size(0) : r), r_(r) {
    if (!matrix.defined()) return;
    rows_ = Banded(matrix);
    if (size_ > r) columns_ = Banded(matrix.t(), kLanes);
  }

  bool is_identity() const { return !rows_.data.defined(); }
  std::int64_t size() const { return size_; }
  /// Of the numbers first(i) … end(i); null for the identity.
  const float* weights(std::int64_t i) const { return is_identity() ? nullptr : rows_.row(i) + first(i); }
  std::int64_t first(std::int64_t i) const { return is_identity() ? i : rows_.first[static_cast<std::size_t>(i)]; }
  std::int64_t end(std::int64_t i) const { return is_identity() ? i + 1 : rows_.end[static_cast<std::size_t>(i)]; }

  /// line [size] = matrix values [r]
  void spread(const float* values, float* line) const {
    if (is_identity()) {
      std::copy_n(values, size_, line);
    } else if (columns_.data.defined()) {
      spread_columns(values, r_, size_, columns_.row(0), columns_.first.data(), columns_.end.data(), line);
    } else {
      spread_rows(values, r_, size_, rows_.row(0), rows_.first.data(), rows_.end.data(), line);
    }
  }

 private:
  std::int64_t size_, r_;
  Banded rows_, columns_;
};

struct ToRgb {
  const float* weight;  // [3, channels]
  const float* bias;    // [3]
  float limit;
};

// Of a row y [pixels, channels]; rgb [3, pixels].
STYLECLIP_CLONED void row_to_rgb(const float* __restrict y, std::int64_t pixels, std::int64_t channels,
                                 const ToRgb& to_rgb, float* __restrict rgb) {
  const float* __restrict weight = to_rgb.weight;
  const float limit = to_rgb.limit;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float* __restrict at = y + p * channels;
    float red = 0, green = 0, blue = 0;
#pragma omp simd reduction(+ : red, green, blue)
    for (std::int64_t o = 0; o < channels; ++o) {
      red += at[o] * weight[o];
      green += at[o] * weight[channels + o];
      blue += at[o] * weight[2 * channels + o];
    }
    rgb[p] = std::min(std::max(red + to_rgb.bias[0], -limit), limit);
    rgb[pixels + p] = std::min(std::max(green + to_rgb.bias[1], -limit), limit);
    rgb[2 * pixels + p] = std::min(std::max(blue + to_rgb.bias[2], -limit), limit);
  }
}

// `to` may be `from`.
STYLECLIP_CLONED void activate_row(const float* from, std::int64_t pixels, std::int64_t channels, const float* noise,
                                   const float* bias, float limit, float* to) {
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float shift = noise == nullptr ? 0.0F : noise[p];
    const float* y = from + p * channels;
    float* result = to + p * channels;
#pragma omp simd
    for (std::int64_t o = 0; o < channels; ++o) result[o] = rows::activated(y[o] + (shift + bias[o]), limit);
  }
}

struct Activation {
  const float* bias = nullptr;  // null: y is active already
  const float* noise = nullptr;
  float limit = 0;
  bool keep = false;
};

// to [count] += Σ_j weights[j] lines[j stride …], four lines at a time; weights null: ones.
STYLECLIP_CLONED void add_lines(const float* __restrict lines, std::int64_t stride, const float* weights,
                                std::int64_t n, std::int64_t count, float* __restrict to) {
  const auto weight = [&](std::int64_t j) { return weights == nullptr ? 1.0F : weights[j]; };
  std::int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
    const float* __restrict line = lines + j * stride;
    const float w0 = weight(j), w1 = weight(j + 1), w2 = weight(j + 2), w3 = weight(j + 3);
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      to[i] += (w0 * line[i] + w1 * line[stride + i]) + (w2 * line[2 * stride + i] + w3 * line[3 * stride + i]);
    }
  }
  for (; j < n; ++j) {
    const float* __restrict line = lines + j * stride;
    const float w = weight(j);
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) to[i] += w * line[i];
  }
}

// What a thread needs for a row.
struct Scratch {
  Scratch(std::int64_t row_size, std::int64_t r)
      : wide(static_cast<std::size_t>(row_size)), rgb(static_cast<std::size_t>(3 * r)) {}
  std::vector<float> wide, rgb;
};

// Row y [r, channels] -> rgb in the scratch.
template <typename T>
void read_row(T* y, std::int64_t row, std::int64_t r, std::int64_t channels, const Activation& activation,
              const ToRgb& to_rgb, Scratch& scratch) {
  const float* active = scratch.wide.data();
  if constexpr (std::is_same_v<T, float>) {
    active = y;
  } else {
    rows::widen(y, r * channels, scratch.wide.data());
  }
  if (activation.bias != nullptr) {
    // Where y need not be written, a float32 row's activation goes to the scratch, else in place.
    float* result = scratch.wide.data();
    if constexpr (std::is_same_v<T, float>) {
      if (activation.keep) result = y;
    }
    const float* noise = activation.noise == nullptr ? nullptr : activation.noise + row * r;
    activate_row(active, r, channels, noise, activation.bias, activation.limit, result);
    if constexpr (!std::is_same_v<T, float>) {
      if (activation.keep) rows::narrow(result, r * channels, y);
    }
    active = result;
  }
  row_to_rgb(active, r, channels, to_rgb, scratch.rgb.data());
}

void run(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit, const at::Tensor& weight,
         const at::Tensor& rgb_bias, double rgb_limit, const at::Tensor& matrix, at::Tensor& canvas, bool keep) {
  const auto dense = [](const at::Tensor& x) { return x.defined() ? x.contiguous() : x; };
  const auto data = [](const at::Tensor& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; };
  const at::Tensor bias_data = dense(bias), noise_data = dense(noise), weight_data = dense(weight),
                   rgb_bias_data = dense(rgb_bias);
  const Activation activation{data(bias_data), data(noise_data), static_cast<float>(limit), keep};
  const ToRgb to_rgb{data(weight_data), data(rgb_bias_data), static_cast<float>(rgb_limit)};
  const std::int64_t n = y.size(0), channels = y.size(1), r = y.size(2), row_size = r * channels;
  const Band band(matrix, r);
  const std::int64_t size = band.size();
  float* target = canvas.mutable_data_ptr<float>();

  // Lines of a few pictures at a time: [pictures, r, 3, size].
  constexpr std::int64_t kLineNumbers = std::int64_t{1} << 22;
  const std::int64_t picture_size = std::max<std::int64_t>(1, r * 3 * size);
  const std::int64_t group = std::clamp<std::int64_t>(kLineNumbers / picture_size, 1, std::max<std::int64_t>(1, n));
  std::vector<float> lines(static_cast<std::size_t>(group * picture_size));
  rows::for_type(y.scalar_type(), [&]<typename T>() {
    T* from = activation.bias != nullptr && keep ? y.mutable_data_ptr<T>() : const_cast<T*>(y.const_data_ptr<T>());
    for (std::int64_t start = 0; start < n; start += group) {
      const std::int64_t count = std::min(group, n - start);
      at::parallel_for(0, count * r, rows::grain(row_size), [&](std::int64_t begin, std::int64_t end) {
        Scratch scratch(row_size, r);
        for (std::int64_t i = begin; i < end; ++i) {
          read_row(from + (start * r + i) * row_size, i % r, r, channels, activation, to_rgb, scratch);
          for (std::int64_t c = 0; c < 3; ++c) {
            band.spread(scratch.rgb.data() + c * r, lines.data() + (i * 3 + c) * size);
          }
        }
      });
      at::parallel_for(0, count * 3 * size, rows::grain(size * 8), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t picture = i / (3 * size), c = i / size % 3, at = i % size;
          float* row = target + (start * 3 * size + i) * size;
          const std::int64_t top = band.first(at);
          add_lines(lines.data() + ((picture * r + top) * 3 + c) * size, 3 * size, band.weights(at), band.end(at) - top,
                    size, row);
        }
      });
    }
  });
}

}  // namespace

void add_to_canvas_cpu(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                       const at::Tensor& matrix, at::Tensor& canvas) {
  check_add_to_canvas(y, weight, rgb_bias, rgb_limit, matrix, canvas);
  run(y, {}, {}, 0, weight, rgb_bias, rgb_limit, matrix, canvas, false);
}

void activate_to_canvas_cpu(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                            const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                            const at::Tensor& matrix, at::Tensor& canvas, bool keep) {
  check_activate_to_canvas(y, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas);
  run(y, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas, keep);
}

}  // namespace styleclip
