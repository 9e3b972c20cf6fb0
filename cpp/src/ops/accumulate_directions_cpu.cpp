// The fast CPU implementation of accumulate_directions: each embedding is read once from memory and widened to float64
// into a row that stays in the first cache; a few passes over that row do the rest. Channels run in parallel, each one
// by one thread in the order of its pictures, so the result does not depend on the number of threads.
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "ops/accumulate_directions.h"

namespace styleclip {
namespace {

// Independent partial sums: what lets the compiler keep a reduction in vector registers without reordering float
// addition behind our back. 8 doubles fill one AVX-512 register or two of AVX2.
constexpr std::int64_t kLanes = 8;

double squared_length(const double* x, std::int64_t dim) {
  std::array<double, kLanes> lanes{};
  std::int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      lanes[static_cast<std::size_t>(lane)] += x[i + lane] * x[i + lane];
  }
  double sum = 0;
  for (; i < dim; ++i) sum += x[i] * x[i];
  for (const double lane : lanes) sum += lane;
  return sum;
}

template <typename T>
void widen(const T* from, double* to, std::int64_t dim) {
  for (std::int64_t i = 0; i < dim; ++i) to[i] = static_cast<double>(static_cast<float>(from[i]));
}

// One channel: plus and minus [images, dim], sum [dim]; `row` and `other` are scratch of dim numbers each.
template <typename T>
void accumulate_channel(const T* plus, const T* minus, std::int64_t images, std::int64_t dim, double* sum,
                        double* magnitude, std::int64_t* count, double* row, double* other) {
  for (std::int64_t m = 0; m < images; ++m) {
    widen(plus + m * dim, row, dim);
    widen(minus + m * dim, other, dim);
    const double plus_length = std::sqrt(squared_length(row, dim));
    const double minus_length = std::sqrt(squared_length(other, dim));
    // Quotients, not products with a reciprocal: nothing is fused, so equal embeddings differ by exactly zero, which is
    // what `count` asks.
    for (std::int64_t i = 0; i < dim; ++i) row[i] = row[i] / plus_length - other[i] / minus_length;
    const double length = std::sqrt(squared_length(row, dim));
    *magnitude += length;
    if (length == 0) continue;  // false for NaN, which goes on into the sum
    *count += length > 0;
    for (std::int64_t i = 0; i < dim; ++i) sum[i] += row[i] / length;
  }
}

// Channels a thread takes at least: below some 20,000 numbers, starting a thread costs more than the work.
std::int64_t grain(std::int64_t images, std::int64_t dim) {
  constexpr std::int64_t kNumbers = 20000;
  return std::max<std::int64_t>(1, kNumbers / std::max<std::int64_t>(1, images * dim));
}

}  // namespace

void accumulate_directions_cpu(const at::Tensor& plus, const at::Tensor& minus, at::Tensor& sum, at::Tensor& magnitude,
                               at::Tensor& count) {
  check_accumulate_directions(plus, minus, sum, magnitude, count);
  const at::Tensor from_plus = plus.contiguous();
  const at::Tensor from_minus = minus.contiguous();
  at::Tensor to_sum = sum.contiguous();
  at::Tensor to_magnitude = magnitude.contiguous();
  at::Tensor to_count = count.contiguous();
  const std::int64_t channels = plus.size(0);
  const std::int64_t images = plus.size(1);
  const std::int64_t dim = plus.size(2);

  const auto run = [&]<typename T>(const T* p, const T* n) {
    double* s = to_sum.mutable_data_ptr<double>();
    double* g = to_magnitude.mutable_data_ptr<double>();
    std::int64_t* c = to_count.mutable_data_ptr<std::int64_t>();
    at::parallel_for(0, channels, grain(images, dim), [&](std::int64_t begin, std::int64_t end) {
      std::vector<double> scratch(static_cast<std::size_t>(2 * dim));
      for (std::int64_t k = begin; k < end; ++k) {
        accumulate_channel(p + k * images * dim, n + k * images * dim, images, dim, s + k * dim, g + k, c + k,
                           scratch.data(), scratch.data() + dim);
      }
    });
  };
  switch (plus.scalar_type()) {
    case at::kHalf: run(from_plus.const_data_ptr<at::Half>(), from_minus.const_data_ptr<at::Half>()); break;
    case at::kBFloat16: run(from_plus.const_data_ptr<at::BFloat16>(), from_minus.const_data_ptr<at::BFloat16>()); break;
    default:  // the check lets nothing else through
      run(from_plus.const_data_ptr<float>(), from_minus.const_data_ptr<float>());
  }

  if (!sum.is_contiguous()) sum.copy_(to_sum);
  if (!magnitude.is_contiguous()) magnitude.copy_(to_magnitude);
  if (!count.is_contiguous()) count.copy_(to_count);
}

}  // namespace styleclip
