// The fast CPU implementations of styled_activate and its backward pass: one pass each, vectorised over the channels,
// blocks of rows in parallel.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "ops/differentiable.h"
#include "ops/styled_activate.h"
#include "ops/styled_rows_cpu.h"

namespace styleclip {

at::Tensor styled_activate_cpu(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias,
                               const at::Tensor& noise, double limit) {
  check_styled_activate(x, gain, bias, noise, limit);
  const at::Tensor dense = x.contiguous(at::MemoryFormat::ChannelsLast);
  const std::int64_t channels = x.size(1), h = x.size(2), w = x.size(3), row_size = w * channels;
  at::Tensor y = at::empty(x.sizes(), x.options(), at::MemoryFormat::ChannelsLast);
  if (y.numel() == 0) return y;
  const double clamp = limit_of(x.scalar_type(), limit);
  rows::for_any_type(x.scalar_type(), [&]<typename T> {
    using A = rows::Wide<T>;
    const rows::Companions<A> companions(gain, bias, noise, h, w);
    const T* from = dense.const_data_ptr<T>();
    T* to = y.mutable_data_ptr<T>();
    at::parallel_for(0, x.size(0) * h, rows::grain(row_size), [&](std::int64_t begin, std::int64_t end) {
      std::vector<A> scratch(std::is_same_v<T, A> ? 0 : static_cast<std::size_t>(row_size));
      for (std::int64_t i = begin; i < end; ++i) {
        const rows::LayerEnd<A> layer = companions.end(i / h, clamp);
        const A* noise_row = companions.noise(i / h, i % h);
        if constexpr (std::is_same_v<T, A>) {
          rows::finish(from + i * row_size, w, layer, noise_row, to + i * row_size);
        } else {
          rows::widen(from + i * row_size, row_size, scratch.data());
          rows::finish(scratch.data(), w, layer, noise_row, scratch.data());
          rows::narrow(scratch.data(), row_size, to + i * row_size);
        }
      }
    });
  });
  return y;
}

Gradients styled_activate_backward_cpu(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& gain,
                                       const at::Tensor& bias, const at::Tensor& noise, double limit, Wanted wanted) {
  check_styled_activate_backward(gradient, y, gain, bias, noise, limit, wanted);
  const at::Tensor from_gradient = gradient.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor from_y = y.contiguous(at::MemoryFormat::ChannelsLast);
  const std::int64_t n = y.size(0), channels = y.size(1), h = y.size(2), w = y.size(3), row_size = w * channels;
  const std::int64_t block_rows = rows::grain(row_size), blocks = (h + block_rows - 1) / block_rows;
  Gradients all;
  at::Tensor& to_x = std::get<0>(all);
  if (wanted[0]) to_x = at::empty(y.sizes(), y.options(), at::MemoryFormat::ChannelsLast);
  const double clamp = limit_of(y.scalar_type(), limit);
  rows::BlockSums sums(y, bias, wanted, blocks);
  rows::for_any_type(y.scalar_type(), [&]<typename T> {
    using A = rows::Wide<T>;
    const rows::Companions<A> companions(gain, bias, noise, h, w);
    const T* gradients = from_gradient.const_data_ptr<T>();
    const T* results = from_y.const_data_ptr<T>();
    T* to = wanted[0] ? to_x.mutable_data_ptr<T>() : nullptr;
    const bool writes_direct = std::is_same_v<T, A> && to != nullptr;
    at::parallel_for(0, y.numel() == 0 ? 0 : n * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
      const auto row_numbers = static_cast<std::size_t>(row_size);
      std::vector<A> wide_gradient(std::is_same_v<T, A> ? 0 : row_numbers), wide_y(wide_gradient.size()),
          scratch(writes_direct ? 0 : row_numbers);
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t picture = block / blocks, first = block % blocks * block_rows;
        const rows::LayerEnd<A> layer = companions.end(picture, clamp);
        for (std::int64_t row = first; row < std::min(first + block_rows, h); ++row) {
          const std::int64_t at = (picture * h + row) * row_size;
          A* out = scratch.data();
          if constexpr (std::is_same_v<T, A>) {
            if (writes_direct) out = to + at;
          }
          rows::Upstream<A> above;
          above.gradient = rows::widened(gradients + at, row_size, wide_gradient.data());
          rows::unfinish(above, rows::widened(results + at, row_size, wide_y.data()), w, layer,
                         companions.noise(picture, row), out, sums.of<A>(picture, block % blocks, row));
          if constexpr (!std::is_same_v<T, A>) {
            if (to != nullptr) rows::narrow(out, row_size, to + at);
          }
        }
      }
    });
  });
  sums.gradients(gain, bias, noise, all);
  return all;
}

}  // namespace styleclip
