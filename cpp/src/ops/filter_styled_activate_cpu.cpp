// The fast CPU implementations of filter_styled_activate and its backward pass: the filter's two directions one after the
// other, in rows that stay in the cache. Vectorised over the channels; rows of all pictures in parallel.
#include "ops/filter_styled_activate.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "ops/differentiable.h"
#include "ops/styled_rows_cpu.h"

namespace styleclip {
namespace {

constexpr std::int64_t kTaps = 4;

// to = Σ_k weights[k] from[k], of `count` numbers. A row that is null counts as zeros.
template <typename A>
STYLECLIP_INLINE void mix_body(const A* const (&from)[kTaps], const A* weights, std::int64_t count, A* __restrict to) {
  const A w0 = weights[0], w1 = weights[1], w2 = weights[2], w3 = weights[3];
  const A* __restrict a = from[0];
  const A* __restrict b = from[1];
  const A* __restrict c = from[2];
  const A* __restrict d = from[3];
  if (a != nullptr && b != nullptr && c != nullptr && d != nullptr) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = w0 * a[i] + w1 * b[i] + w2 * c[i] + w3 * d[i];
    return;
  }
  std::fill(to, to + count, A{0});
  for (std::int64_t tap = 0; tap < kTaps; ++tap) {
    const A* __restrict row = from[tap];
    if (row == nullptr) continue;
    const A weight = weights[tap];
    for (std::int64_t i = 0; i < count; ++i) to[i] += weight * row[i];
  }
}
STYLECLIP_CLONED void mix(const float* const (&from)[kTaps], const float* weights, std::int64_t count, float* to) {
  mix_body(from, weights, count, to);
}
STYLECLIP_CLONED void mix(const double* const (&from)[kTaps], const double* weights, std::int64_t count, double* to) {
  mix_body(from, weights, count, to);
}

// Rows that a block's threads take at least: of every block, three rows are filtered twice.
std::int64_t block_rows(std::int64_t row_size) { return std::max<std::int64_t>(16, rows::grain(row_size)); }

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

}  // namespace

at::Tensor filter_styled_activate_cpu(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain,
                                      const at::Tensor& bias, const at::Tensor& noise, double limit) {
  check_filter_styled_activate(t, filter, gain, bias, noise, limit);
  const at::Tensor dense = t.contiguous(at::MemoryFormat::ChannelsLast), taps = filter.contiguous();
  const std::int64_t n = t.size(0), channels = t.size(1), h = t.size(2) - 1, w = t.size(3) - 1;
  const std::int64_t row_size = w * channels, source_size = (w + 1) * channels;
  const std::int64_t rows_a_block = block_rows(row_size), blocks = (h + rows_a_block - 1) / rows_a_block;
  at::Tensor y = at::empty({n, channels, h, w}, t.options(), at::MemoryFormat::ChannelsLast);
  if (y.numel() == 0) return y;
  const double clamp = limit_of(t.scalar_type(), limit);
  rows::for_any_type(t.scalar_type(), [&]<typename T>() {
    using A = rows::Wide<T>;
    const rows::Companions<A> companions(gain, bias, noise, h, w);
    const T* from = dense.const_data_ptr<T>();
    const A* weights = taps.const_data_ptr<A>();
    T* to = y.mutable_data_ptr<T>();
    at::parallel_for(0, n * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
      // A row of t between a pixel of zeros on its left and one on its right (the last window's end), and rows filtered
      // across.
      std::vector<A> line(static_cast<std::size_t>(source_size + 2 * channels));
      std::vector<A> sum(std::is_same_v<T, A> ? 0 : static_cast<std::size_t>(row_size));
      Ring<A> ring(row_size);
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t picture = block / blocks, first = block % blocks * rows_a_block;
        const std::int64_t last = std::min(first + rows_a_block, h);
        const rows::LayerEnd<A> layer = companions.end(picture, clamp);
        const auto present = [&](std::int64_t row) { return row >= 0 && row <= h; };
        const auto across = [&](std::int64_t row) {
          if (!present(row)) return;
          const T* data = from + (picture * (h + 1) + row) * source_size;
          if constexpr (std::is_same_v<T, A>) {
            std::copy(data, data + source_size, line.data() + channels);
          } else {
            rows::widen(data, source_size, line.data() + channels);
          }
          const A* at = line.data();
          mix({at, at + channels, at + 2 * channels, at + 3 * channels}, weights, row_size, ring.at(row));
        };
        for (std::int64_t row = first - 1; row < first + 2; ++row) across(row);
        for (std::int64_t row = first; row < last; ++row) {
          across(row + 2);
          const A* down[kTaps];
          for (std::int64_t tap = 0; tap < kTaps; ++tap) {
            down[tap] = present(row + tap - 1) ? ring.at(row + tap - 1) : nullptr;
          }
          T* out = to + (picture * h + row) * row_size;
          if constexpr (std::is_same_v<T, A>) {
            mix(down, weights, row_size, out);
            rows::finish(out, w, layer, companions.noise(picture, row), out);
          } else {
            mix(down, weights, row_size, sum.data());
            rows::finish(sum.data(), w, layer, companions.noise(picture, row), sum.data());
            rows::narrow(sum.data(), row_size, out);
          }
        }
      }
    });
  });
  return y;
}

Gradients filter_styled_activate_backward_cpu(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& filter,
                                              const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                                              double limit, Wanted wanted) {
  check_filter_styled_activate_backward(gradient, y, filter, gain, bias, noise, limit, wanted);
  const at::Tensor from_gradient = gradient.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor from_y = y.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor turned = filter.flip({0}).contiguous();
  const std::int64_t n = y.size(0), channels = y.size(1), h = y.size(2), w = y.size(3);
  const std::int64_t row_size = w * channels, source_size = (w + 1) * channels;
  // Blocks of rows of t's gradient; the sums over rows of y belong to the block that has the row of the same number.
  const std::int64_t rows_a_block = block_rows(row_size), blocks = (h + rows_a_block) / rows_a_block;
  Gradients all;
  at::Tensor& to_t = std::get<0>(all);
  if (wanted[0]) to_t = at::empty({n, channels, h + 1, w + 1}, y.options(), at::MemoryFormat::ChannelsLast);
  if (wanted[0] && y.numel() == 0) to_t.zero_();
  const double clamp = limit_of(y.scalar_type(), limit);
  rows::BlockSums sums(y, bias, wanted, blocks);
  rows::for_any_type(y.scalar_type(), [&]<typename T>() {
    using A = rows::Wide<T>;
    const rows::Companions<A> companions(gain, bias, noise, h, w);
    const T* gradients = from_gradient.const_data_ptr<T>();
    const T* results = from_y.const_data_ptr<T>();
    const A* weights = turned.const_data_ptr<A>();
    T* to = wanted[0] ? to_t.mutable_data_ptr<T>() : nullptr;
    at::parallel_for(0, y.numel() == 0 ? 0 : n * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
      // The gradient before the filter of one row, two pixels of zeros on either side.
      std::vector<A> line(static_cast<std::size_t>(row_size + 4 * channels));
      const std::size_t narrow_row = std::is_same_v<T, A> ? 0 : static_cast<std::size_t>(row_size);
      std::vector<A> wide_gradient(narrow_row), wide_y(narrow_row), sum(static_cast<std::size_t>(source_size));
      Ring<A> ring(source_size);
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t picture = block / blocks, first = block % blocks * rows_a_block;
        const std::int64_t last = std::min(first + rows_a_block, h + 1);
        const rows::LayerEnd<A> layer = companions.end(picture, clamp);
        const auto present = [&](std::int64_t row) { return row >= 0 && row < h; };
        const auto across = [&](std::int64_t row) {
          if (!present(row)) return;
          const std::int64_t at = (picture * h + row) * row_size;
          const bool own = row >= first && row < last;
          rows::unfinish(rows::widened(gradients + at, row_size, wide_gradient.data()),
                         rows::widened(results + at, row_size, wide_y.data()), w, layer, companions.noise(picture, row),
                         line.data() + 2 * channels,
                         own ? sums.of<A>(picture, block % blocks, row) : rows::Sums<A>{nullptr, nullptr, nullptr});
          const A* from = line.data();
          if (to != nullptr) {
            mix({from, from + channels, from + 2 * channels, from + 3 * channels}, weights, source_size, ring.at(row));
          }
        };
        if (to != nullptr) {
          for (std::int64_t row = first - 2; row < first; ++row) across(row);
          across(first);
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
            rows::narrow(sum.data(), source_size, out);
          }
        }
      }
    });
  });
  sums.gradients(gain, bias, noise, all);
  return all;
}

}  // namespace styleclip
