// The fast CPU implementations of add_to_canvas and activate_to_canvas. In one pass a row of y is activated and becomes a
// row of RGB and, resampled across, three lines of the canvas's width; then every row of the canvas sums the lines it has a
// share in. Each number is summed by one thread in the order of the lines, so that results do not depend on the number of
// threads.
#include "ops/add_to_canvas.h"

#include <ATen/Parallel.h>

#ifdef STYLECLIP_INSTRUCTION_SETS
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "ops/rows_cpu.h"

namespace styleclip {
namespace {

// Neighbours on a line that are summed together: a register, or several, where the processor's are shorter.
constexpr std::int64_t kBlock = 16;
using Block = float __attribute__((vector_size(kBlock * sizeof(float))));

// The resampling matrix [size, r] and, for each of its rows, the part [first, end) outside which it is zero; undefined: the
// identity, which has none of what is here but its size.
class Band {
 public:
  Band(const at::Tensor& matrix, std::int64_t r) : size_(matrix.defined() ? matrix.size(0) : r), r_(r) {
    if (!matrix.defined()) return;
    matrix_ = matrix.contiguous();
    for (std::int64_t i = 0; i < size_; ++i) {
      std::int64_t from = 0, to = r;
      while (to > 0 && row(i)[to - 1] == 0) --to;
      while (from < to && row(i)[from] == 0) ++from;
      first_.push_back(from);
      end_.push_back(to);
    }
    for (std::int64_t i = 0; i < size_; i += kBlock) pack(i, std::min(kBlock, size_ - i));
  }

  bool is_identity() const { return !matrix_.defined(); }
  std::int64_t size() const { return size_; }
  /// Of the numbers first(i) … end(i).
  const float* weights(std::int64_t i) const { return row(i) + first(i); }
  std::int64_t first(std::int64_t i) const { return first_[static_cast<std::size_t>(i)]; }
  std::int64_t end(std::int64_t i) const { return end_[static_cast<std::size_t>(i)]; }

  /// lines [3, size] = rgb [3, r] matrixᵀ
  void spread(const float* rgb, float* lines) const;

 private:
  const float* row(std::int64_t i) const { return matrix_.const_data_ptr<float>() + i * r_; }

  // `count` neighbours on a line: what has a share in any of them, and the shares, [kBlock] of each.
  struct Neighbours {
    std::int64_t at, count, first, end;
    std::size_t weights;  // where in packed_
  };
  void pack(std::int64_t at, std::int64_t count) {
    Neighbours block{at, count, r_, 0, packed_.size()};
    for (std::int64_t i = at; i < at + count; ++i) {
      if (first(i) == end(i)) continue;
      block.first = std::min(block.first, first(i));
      block.end = std::max(block.end, end(i));
    }
    for (std::int64_t j = block.first; j < block.end; ++j) {
      for (std::int64_t i = 0; i < kBlock; ++i) packed_.push_back(i < count ? row(at + i)[j] : 0.0F);
    }
    blocks_.push_back(block);
  }

  std::int64_t size_, r_;
  at::Tensor matrix_;
  std::vector<std::int64_t> first_, end_;
  std::vector<Neighbours> blocks_;
  std::vector<float> packed_;
};

STYLECLIP_CLONED void Band::spread(const float* rgb, float* lines) const {
  for (const Neighbours& block : blocks_) {
    Block sums[3];
    for (Block& sum : sums) sum = Block{};
    const float* weights = packed_.data() + block.weights;
    for (std::int64_t j = block.first; j < block.end; ++j, weights += kBlock) {
      Block weight;
      std::memcpy(&weight, weights, sizeof(weight));
      // NaN and infinity stay where they have a share.
      for (std::int64_t c = 0; c < 3; ++c) sums[c] += weight == 0 ? Block{} : rgb[c * r_ + j] * weight;
    }
    for (std::int64_t c = 0; c < 3; ++c) {
      std::memcpy(lines + c * size_ + block.at, &sums[c], static_cast<std::size_t>(block.count) * sizeof(float));
    }
  }
}

// What is done to a row.
enum class RowKind { Active, Activate, ActivateAndKeep };

// What the pixels of a row share.
struct RowEnd {
  std::int64_t channels;
  const float* bias;  // [channels]; null where y is active already
  float limit;
  const float* weight;    // [3, channels]
  const float* rgb_bias;  // [3]
  float rgb_limit;
};

#define STYLECLIP_LOOPS "ops/canvas_rows_lanes.h"
#include "ops/each_instruction_set.h"

template <typename T>
using RowToRgb = void (*)(T*, std::int64_t, const float*, const RowEnd&, float*);

template <RowKind kind, typename T>
RowToRgb<T> row_to_rgb(Instructions instructions) {
#ifdef STYLECLIP_INSTRUCTION_SETS
  if (instructions == Instructions::Avx512Bf16) return avx512_bf16::row_to_rgb<kind, T>;
  if (instructions == Instructions::Avx512) return avx512::row_to_rgb<kind, T>;
  if (instructions == Instructions::Avx2) return avx2::row_to_rgb<kind, T>;
#endif
  return plain::row_to_rgb<kind, T>;
}

template <typename T>
RowToRgb<T> row_to_rgb(RowKind kind, Instructions instructions) {
  if (kind == RowKind::Active) return row_to_rgb<RowKind::Active, T>(instructions);
  if (kind == RowKind::Activate) return row_to_rgb<RowKind::Activate, T>(instructions);
  return row_to_rgb<RowKind::ActivateAndKeep, T>(instructions);
}

// to [count] += Σ_j weights[j] lines[j stride …], four lines at a time.
STYLECLIP_CLONED void add_lines(const float* __restrict lines, std::int64_t stride, const float* weights,
                                std::int64_t n, std::int64_t count, float* __restrict to) {
  std::int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
    const float* __restrict line = lines + j * stride;
    const float w0 = weights[j], w1 = weights[j + 1], w2 = weights[j + 2], w3 = weights[j + 3];
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      to[i] += (w0 * line[i] + w1 * line[stride + i]) + (w2 * line[2 * stride + i] + w3 * line[3 * stride + i]);
    }
  }
  for (; j < n; ++j) {
    const float* __restrict line = lines + j * stride;
    const float w = weights[j];
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) to[i] += w * line[i];
  }
}

STYLECLIP_CLONED void add_line(const float* __restrict line, std::int64_t count, float* __restrict to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += line[i];
}

void run(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit, const at::Tensor& weight,
         const at::Tensor& rgb_bias, double rgb_limit, const at::Tensor& matrix, at::Tensor& canvas, RowKind kind,
         Instructions instructions) {
  const auto dense = [](const at::Tensor& x) { return x.defined() ? x.contiguous() : x; };
  const auto data = [](const at::Tensor& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; };
  const at::Tensor bias_data = dense(bias), noise_data = dense(noise), weight_data = dense(weight),
                   rgb_bias_data = dense(rgb_bias);
  const float* shifts = data(noise_data);
  const std::int64_t n = y.size(0), channels = y.size(1), r = y.size(2), row_size = r * channels;
  const RowEnd end_of_row{channels,          data(bias_data),     static_cast<float>(limit),
                          data(weight_data), data(rgb_bias_data), static_cast<float>(rgb_limit)};
  const Band band(matrix, r);
  const std::int64_t size = band.size();
  float* target = canvas.mutable_data_ptr<float>();

  // Lines of a few pictures at a time, [pictures, r, 3, size]: what each thread writes stays in its second cache.
  constexpr std::int64_t kLineNumbers = std::int64_t{1} << 16;
  const std::int64_t picture_size = std::max<std::int64_t>(1, r * 3 * size);
  const std::int64_t group =
      std::clamp<std::int64_t>(at::get_num_threads() * kLineNumbers / picture_size, 1, std::max<std::int64_t>(1, n));
  std::vector<float> lines(static_cast<std::size_t>(band.is_identity() ? 0 : group * picture_size));
  rows::for_type(y.scalar_type(), [&]<typename T> {
    T* from = kind == RowKind::ActivateAndKeep ? y.mutable_data_ptr<T>() : const_cast<T*>(y.const_data_ptr<T>());
    const RowToRgb<T> to_rgb = row_to_rgb<T>(kind, instructions);
    // `count` rows of all pictures' from `first` on; take(i, rgb) gets row first + i.
    const auto read_rows = [&](std::int64_t first, std::int64_t count, const auto& take) {
      at::parallel_for(0, count, rows::grain(row_size), [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> rgb(static_cast<std::size_t>(3 * r));
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t row = (first + i) % r;
          to_rgb(from + (first + i) * row_size, r, shifts == nullptr ? nullptr : shifts + row * r, end_of_row,
                 rgb.data());
          take(i, rgb.data());
        }
      });
    };
    if (band.is_identity()) {
      read_rows(0, n * r, [&](std::int64_t i, const float* rgb) {
        for (std::int64_t c = 0; c < 3; ++c) {
          add_line(rgb + c * r, r, target + ((i / r * 3 + c) * r + i % r) * r);
        }
      });
      return;
    }
    for (std::int64_t start = 0; start < n; start += group) {
      const std::int64_t count = std::min(group, n - start);
      read_rows(start * r, count * r,
                [&](std::int64_t i, const float* rgb) { band.spread(rgb, lines.data() + i * 3 * size); });
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
  add_to_canvas_by(y, weight, rgb_bias, rgb_limit, matrix, canvas, widest_instructions());
}

void add_to_canvas_by(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                      const at::Tensor& matrix, at::Tensor& canvas, Instructions instructions) {
  check_add_to_canvas(y, weight, rgb_bias, rgb_limit, matrix, canvas);
  run(y, {}, {}, 0, weight, rgb_bias, rgb_limit, matrix, canvas, RowKind::Active, instructions);
}

void activate_to_canvas_cpu(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                            const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                            const at::Tensor& matrix, at::Tensor& canvas, bool keep) {
  activate_to_canvas_by(y, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas, keep,
                        widest_instructions());
}

void activate_to_canvas_by(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                           const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                           const at::Tensor& matrix, at::Tensor& canvas, bool keep, Instructions instructions) {
  check_activate_to_canvas(y, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas);
  run(y, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas,
      keep ? RowKind::ActivateAndKeep : RowKind::Activate, instructions);
}

}  // namespace styleclip
