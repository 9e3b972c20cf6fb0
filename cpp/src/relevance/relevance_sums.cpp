// Sums and their end; the arithmetic of one picture is the operator accumulate_directions.
#include "relevance/relevance_sums.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "styleclip/ops.h"

namespace styleclip {
namespace {

constexpr std::int64_t kRowsTogether = 256;  // that are float64 beside the sums

}  // namespace

RelevanceSums::RelevanceSums(std::int64_t channels, std::int64_t dim, at::Device device)
    : sum(at::zeros({channels, dim}, at::TensorOptions().dtype(at::kDouble).device(device))),
      magnitude(at::zeros({channels}, at::TensorOptions().dtype(at::kDouble).device(device))),
      count(at::zeros({channels}, at::TensorOptions().dtype(at::kLong).device(device))) {}

void RelevanceSums::add(std::int64_t first, const at::Tensor& plus, const at::Tensor& minus) {
  const std::int64_t k = plus.size(0);
  at::Tensor sum_rows = sum.narrow(0, first, k);
  at::Tensor magnitude_rows = magnitude.narrow(0, first, k);
  at::Tensor count_rows = count.narrow(0, first, k);
  accumulate_directions(plus, minus, sum_rows, magnitude_rows, count_rows);
}

void RelevanceSums::add_differences(std::int64_t first, const at::Tensor& d, const at::Tensor& length) {
  const at::Tensor scale = at::where(length > 0, length, 1.0).to(at::kDouble);
  sum.narrow(0, first, d.size(0)).add_(d / scale.unsqueeze(1));
  magnitude.narrow(0, first, d.size(0)).add_(length);
  count.narrow(0, first, d.size(0)).add_((length > 0).to(at::kLong));
}

void RelevanceSums::add(const RelevanceSums& other) {
  sum.add_(other.sum);
  magnitude.add_(other.magnitude);
  count.add_(other.count);
}

std::int64_t RelevanceSums::first_not_finite(std::int64_t first, std::int64_t k) const {
  const at::Tensor finite = at::isfinite(magnitude.narrow(0, first, k));
  if (finite.all().item<bool>()) return -1;
  return first + finite.to(at::kByte).argmin().item<std::int64_t>();
}

RelevanceRows finish_rows(const RelevanceSums& sums, const std::vector<std::int64_t>& channels,
                          const std::vector<std::int64_t>& moving, std::int64_t pictures) {
  const at::Tensor length = sums.sum.norm(2, 1);  // [moving]
  const at::Tensor scale = at::where(length > 0, length, 1.0).unsqueeze(1);
  const at::Tensor concentration = (length / at::clamp_min(sums.count, 1)).to(at::kCPU, at::kFloat);
  const at::Tensor magnitude = (sums.magnitude / static_cast<double>(pictures)).to(at::kCPU, at::kFloat);

  const auto n = static_cast<std::int64_t>(channels.size());
  const at::Tensor index = at::tensor(moving, at::kLong);
  RelevanceRows result;
  result.channels = channels;
  result.rows = at::zeros({n, sums.sum.size(1)});
  const std::int64_t moved = index.size(0);
  for (std::int64_t first = 0; first < moved; first += kRowsTogether) {
    const std::int64_t k = std::min(kRowsTogether, moved - first);
    const at::Tensor unit = sums.sum.narrow(0, first, k) / scale.narrow(0, first, k);
    result.rows.index_copy_(0, index.narrow(0, first, k), unit.to(at::kCPU, at::kFloat));
  }
  result.concentration = at::zeros({n}).index_copy_(0, index, concentration);
  result.magnitude = at::zeros({n}).index_copy_(0, index, magnitude);
  result.counts = at::zeros({n}, at::kLong).index_copy_(0, index, sums.count.to(at::kCPU));
  return result;
}

}  // namespace styleclip
