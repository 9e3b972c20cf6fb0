// The sums that a sweep gathers, and the table they become. Sums of two sweeps over other pictures of the same channels
// simply add, which is what shards and many machines will use.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "styleclip/relevance.h"

namespace styleclip {

struct RelevanceSums {
  /// `channels` rows of zeros of an embedding of `dim` numbers, on `device`.
  RelevanceSums(std::int64_t channels, std::int64_t dim, at::Device device);

  at::Tensor sum;        // [channels, dim] float64: Σ d/|d|
  at::Tensor magnitude;  // [channels] float64: Σ |d|
  at::Tensor count;      // [channels] int64: pictures with |d| > 0

  /// Adds embeddings of pictures, plus and minus [k, m, dim], to rows first … first + k − 1.
  void add(std::int64_t first, const at::Tensor& plus, const at::Tensor& minus);
  /// Adds differences of one picture, d [k, dim], to rows first … first + k − 1. `length` [k]: their |d|.
  void add_differences(std::int64_t first, const at::Tensor& d, const at::Tensor& length);
  /// Adds sums of the same rows in other pictures.
  void add(const RelevanceSums& other);
  /// First row of [first, first + k) whose sums are not finite, or −1.
  std::int64_t first_not_finite(std::int64_t first, std::int64_t k) const;
};

/// The finished table: row = unit(Σ d/|d|), concentration = |Σ d/|d|| / count, magnitude = Σ|d| / pictures. Row i of
/// `sums` belongs to inputs.channels[moving[i]]; every other channel gets a zero row with count 0. Tensors on the CPU.
RelevanceRows finish_rows(const RelevanceSums& sums, const std::vector<std::int64_t>& channels,
                          const std::vector<std::int64_t>& moving, std::int64_t pictures);

}  // namespace styleclip
