// The fast CPU implementation of resize_8bit: a line of `inner` numbers is summed side by side, in int32.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/resize_8bit.h"
#include "styleclip/ops.h"

namespace styleclip {

at::Tensor resize_8bit_cpu(const at::Tensor& pixels, const at::Tensor& first, const at::Tensor& weights) {
  check_resize_8bit(pixels, first, weights);
  const at::Tensor from = pixels.contiguous(), places = first.contiguous(), taps = weights.contiguous();
  const std::int64_t outer = pixels.size(0), length = pixels.size(1), inner = pixels.size(2);
  const std::int64_t out = first.size(0), width = weights.size(1);
  at::Tensor result = at::empty({outer, out, inner}, pixels.options());
  if (result.numel() == 0) return result;
  const auto* source = from.const_data_ptr<std::uint8_t>();
  const auto* start = places.const_data_ptr<std::int32_t>();
  const auto* weight = taps.const_data_ptr<std::int32_t>();
  auto* target = result.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, outer, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> sums(static_cast<std::size_t>(inner));
    for (std::int64_t line = begin; line < end; ++line) {
      for (std::int64_t o = 0; o < out; ++o) {
        std::fill(sums.begin(), sums.end(), 1 << (kResize8bitBits - 1));
        for (std::int64_t tap = 0; tap < width; ++tap) {
          const std::int32_t w = weight[o * width + tap];
          if (w == 0) continue;
          const std::int64_t place = start[o] + tap;
          if (place >= length) break;
          const std::uint8_t* row = source + (line * length + std::max<std::int64_t>(0, place)) * inner;
          for (std::int64_t i = 0; i < inner; ++i) sums[static_cast<std::size_t>(i)] += row[i] * w;
        }
        std::uint8_t* to = target + (line * out + o) * inner;
        for (std::int64_t i = 0; i < inner; ++i) {
          to[i] = static_cast<std::uint8_t>(std::clamp(sums[static_cast<std::size_t>(i)] >> kResize8bitBits, 0, 255));
        }
      }
    }
  });
  return result;
}

}  // namespace styleclip
