// The fast CPU implementations of filter_styled_activate and its backward pass: the filter's two directions one after the
// other, in rows that stay in the cache. Vectorised over the channels; rows of all pictures in parallel.
#include "ops/filter_styled_activate.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "ops/differentiable.h"
#include "ops/filter_rows_cpu.h"
#include "ops/styled_rows_cpu.h"

namespace styleclip {
namespace {

using rows::kTaps;
using rows::Ring;

}  // namespace

at::Tensor filter_styled_activate_cpu(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain,
                                      const at::Tensor& bias, const at::Tensor& noise, double limit) {
  check_filter_styled_activate(t, filter, gain, bias, noise, limit);
  const at::Tensor dense = t.contiguous(at::MemoryFormat::ChannelsLast), taps = filter.contiguous();
  const std::int64_t n = t.size(0), channels = t.size(1), h = t.size(2) - 1, w = t.size(3) - 1;
  const std::int64_t row_size = w * channels, source_size = (w + 1) * channels;
  const std::int64_t rows_a_block = rows::filtered_block(row_size), blocks = (h + rows_a_block - 1) / rows_a_block;
  at::Tensor y = at::empty({n, channels, h, w}, t.options(), at::MemoryFormat::ChannelsLast);
  if (y.numel() == 0) return y;
  const double clamp = limit_of(t.scalar_type(), limit);
  rows::for_any_type(t.scalar_type(), [&]<typename T> {
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
      for (std::int64_t block = begin, next = 0; block < end; block = next) {
        const std::int64_t picture = block / blocks, first = block % blocks * rows_a_block;
        next = std::min(end, (picture + 1) * blocks);  // the blocks of a picture in one go: none filters rows twice
        const std::int64_t last = std::min((next - picture * blocks) * rows_a_block, h);
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
          rows::mix({at, at + channels, at + 2 * channels, at + 3 * channels}, weights, row_size, ring.at(row));
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
            rows::mix(down, weights, row_size, out);
            rows::finish(out, w, layer, companions.noise(picture, row), out);
          } else {
            rows::mix(down, weights, row_size, sum.data());
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
  const std::int64_t row_size = w * channels;
  // Blocks of rows of t's gradient; the sums over rows of y belong to the block that has the row of the same number.
  const std::int64_t rows_a_block = rows::filtered_block(row_size), blocks = (h + rows_a_block) / rows_a_block;
  Gradients all;
  at::Tensor& to_t = std::get<0>(all);
  if (wanted[0]) to_t = at::empty({n, channels, h + 1, w + 1}, y.options(), at::MemoryFormat::ChannelsLast);
  if (wanted[0] && y.numel() == 0) to_t.zero_();
  const double clamp = limit_of(y.scalar_type(), limit);
  rows::BlockSums sums(y, bias, wanted, blocks);
  rows::for_any_type(y.scalar_type(), [&]<typename T> {
    using A = rows::Wide<T>;
    const rows::Companions<A> companions(gain, bias, noise, h, w);
    const T* gradients = from_gradient.const_data_ptr<T>();
    const T* results = from_y.const_data_ptr<T>();
    T* to = wanted[0] ? to_t.mutable_data_ptr<T>() : nullptr;
    const std::size_t narrow_row = std::is_same_v<T, A> ? 0 : static_cast<std::size_t>(row_size);
    rows::filter_back({n, channels, h, w}, rows_a_block, turned.const_data_ptr<A>(), to, [&] {
      return [&, wide_gradient = std::vector<A>(narrow_row), wide_y = std::vector<A>(narrow_row)](
                 std::int64_t picture, std::int64_t row, bool own, A* line) mutable {
        const std::int64_t at = (picture * h + row) * row_size;
        rows::Upstream<A> above;
        above.gradient = rows::widened(gradients + at, row_size, wide_gradient.data());
        rows::unfinish(above, rows::widened(results + at, row_size, wide_y.data()), w, companions.end(picture, clamp),
                       companions.noise(picture, row), line,
                       own ? sums.of<A>(picture, row / rows_a_block, row) : rows::Sums<A>());
      };
    });
  });
  sums.gradients(gain, bias, noise, all);
  return all;
}

}  // namespace styleclip
