// What the CPU's filtered layers share: the FIR filter's two directions one after the other, in rows that stay in the cache.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "ops/rows_cpu.h"

namespace styleclip::rows {

constexpr std::int64_t kTaps = 4;

/// to = Σ_k weights[k] from[k], of `count` numbers. A row that is null counts as zeros.
void mix(const float* const (&from)[kTaps], const float* weights, std::int64_t count, float* to);
void mix(const double* const (&from)[kTaps], const double* weights, std::int64_t count, double* to);

/// Rows that a thread takes at least: where another one goes on, three rows are filtered twice.
inline std::int64_t filtered_block(std::int64_t row_size) { return std::max<std::int64_t>(16, grain(row_size)); }

/// Four rows, of which each new one takes the place of the oldest.
template <typename A>
class Ring {
 public:
  explicit Ring(std::int64_t count) : count_(count), memory_(static_cast<std::size_t>(kTaps * count)) {}
  A* at(std::int64_t row) { return memory_.data() + (row & (kTaps - 1)) * count_; }

 private:
  std::int64_t count_;
  std::vector<A> memory_;
};

struct Sizes {
  std::int64_t n, channels, h, w;
};

/// The gradient to t [n, channels, h + 1, w + 1] channels last, which the filter takes to [n, channels, h, w]. `weights`: the
/// filter's, turned back. make() gives each thread its own unfinish(picture, row, own, A* line), which writes the gradient
/// before the filter of one row; `own` once for every row: sums over the row are to be taken then. Where `to` is null, that
/// is all that is done.
template <typename T, typename Make>
void filter_back(const Sizes& sizes, std::int64_t rows_a_block, const Wide<T>* weights, T* to, const Make& make) {
  using A = Wide<T>;
  const auto [n, channels, h, w] = sizes;
  const std::int64_t row_size = w * channels, source_size = (w + 1) * channels;
  // Blocks of rows of t's gradient; row h of it has none of its own before the filter.
  const std::int64_t blocks = (h + rows_a_block) / rows_a_block;
  at::parallel_for(0, n * row_size * h == 0 ? 0 : n * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    auto unfinish = make();
    // The gradient before the filter of one row, two pixels of zeros on either side.
    std::vector<A> line(static_cast<std::size_t>(row_size + 4 * channels));
    std::vector<A> sum(std::is_same_v<T, A> ? 0 : static_cast<std::size_t>(source_size));
    Ring<A> ring(source_size);
    for (std::int64_t block = begin, next = 0; block < end; block = next) {
      const std::int64_t picture = block / blocks, first = block % blocks * rows_a_block;
      next = std::min(end, (picture + 1) * blocks);  // the blocks of a picture in one go
      const std::int64_t last = std::min((next - picture * blocks) * rows_a_block, h + 1);
      const auto present = [&](std::int64_t row) { return row >= 0 && row < h; };
      const auto across = [&](std::int64_t row) {
        if (!present(row)) return;
        unfinish(picture, row, row >= first && row < last, line.data() + 2 * channels);
        const A* from = line.data();
        if (to != nullptr) {
          mix({from, from + channels, from + 2 * channels, from + 3 * channels}, weights, source_size, ring.at(row));
        }
      };
      if (to != nullptr) {
        for (std::int64_t row = first - 2; row <= first; ++row) across(row);
      }
      for (std::int64_t row = first; row < last; ++row) {
        across(to != nullptr ? row + 1 : row);
        if (to == nullptr) continue;
        const A* down[kTaps];
        for (std::int64_t tap = 0; tap < kTaps; ++tap) {
          down[tap] = present(row + tap - 2) ? ring.at(row + tap - 2) : nullptr;
        }
        T* out = to + (picture * (h + 1) + row) * source_size;
        if constexpr (std::is_same_v<T, A>) {
          mix(down, weights, source_size, out);
        } else {
          mix(down, weights, source_size, sum.data());
          narrow(sum.data(), source_size, out);
        }
      }
    }
  });
}

}  // namespace styleclip::rows
