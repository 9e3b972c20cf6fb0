// What all engines share: their batch, and what they say of numbers that are none.
#include "relevance/engine.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "models/scalar_type.h"
#include "relevance/batching.h"
#include "relevance/broken.h"
#include "relevance/working_memory.h"

namespace styleclip {

std::pair<at::Tensor, at::Tensor> indices_of(const SweepInputs& inputs, const std::vector<std::int64_t>& rows) {
  std::vector<std::int64_t> channels, places;
  channels.reserve(rows.size());
  places.reserve(rows.size());
  for (const std::int64_t row : rows) {
    places.push_back(inputs.moving[static_cast<std::size_t>(row)]);
    channels.push_back(inputs.channels[static_cast<std::size_t>(places.back())]);
  }
  const c10::Device device = inputs.base.device();
  return {at::tensor(channels, at::kLong).to(device), at::tensor(places, at::kLong).to(device)};
}

at::Tensor same_bits(const at::Tensor& plus, const at::Tensor& minus) {
  // As floating-point numbers −0 would be 0, and NaN not itself.
  const auto whole = [](const at::Tensor& x) {
    switch (x.element_size()) {
      case 1: return x.view(at::kByte).flatten(1);
      case 2: return x.view(at::kShort).flatten(1);
      case 4: return x.view(at::kInt).flatten(1);
      default: return x.view(at::kLong).flatten(1);
    }
  };
  return whole(plus).eq(whole(minus)).all(1);
}

// A truth value for every number of a pair.
std::int64_t alike_bytes(std::int64_t numbers) { return numbers * static_cast<std::int64_t>(sizeof(bool)); }

void embed_alike(const at::Tensor& plus, const at::Tensor& minus, const at::Tensor& f_plus, const at::Tensor& f_minus) {
  const std::int64_t n = plus.size(0);
  if (n == 0 || plus.numel() == 0) return;
  if (!plus.is_cpu()) {
    f_minus.copy_(at::where(same_bits(plus, minus).unsqueeze(1), f_plus, f_minus));
    return;
  }
  const auto bytes = static_cast<std::size_t>(plus.numel() / n * plus.element_size());
  const auto* a = static_cast<const char*>(plus.const_data_ptr());
  const auto* b = static_cast<const char*>(minus.const_data_ptr());
  for (std::int64_t i = 0; i < n; ++i) {
    const std::size_t first = static_cast<std::size_t>(i) * bytes;
    if (std::memcmp(a + first, b + first, bytes) == 0) f_minus[i].copy_(f_plus[i]);
  }
}

SweepEngine::SweepEngine(const SweepTask& task) : task_(task) {}

std::int64_t SweepEngine::plan_batch(std::int64_t smallest, std::int64_t largest,
                                     const std::function<std::int64_t(std::int64_t)>& bytes) {
  const std::int64_t bound = memory_bound(task_);
  if (task_.options.batch > 0) {
    batch_ = task_.options.batch;
    return bound;
  }
  least_bytes_ = bytes(smallest);
  batch_ = batch_within(bound, smallest, largest, bytes);
  return std::max(bound, least_bytes_);
}

SweepPart SweepEngine::part_of(const SweepBlock& block) {
  SweepPart part{std::vector<std::int64_t>(static_cast<std::size_t>(block.rows)), block.first_picture, block.pictures};
  std::iota(part.rows.begin(), part.rows.end(), block.first_row);
  return part;
}

void SweepEngine::add_each(const SweepPart& part, std::vector<RelevanceSums>& each, ProgressMeter& meter) {
  SweepPart one{part.rows, part.first_picture, 1};
  for (RelevanceSums& sums : each) {
    add(one, sums, meter);
    ++one.first_picture;
  }
}

std::int64_t SweepEngine::run(const SweepBlock& block, RelevanceSums& sums, ProgressMeter& meter) {
  add(part_of(block), sums, meter);
  return work(block);
}

at::ScalarType SweepEngine::activations() const { return parse_dtype(task_.generator.dtype()); }

void SweepEngine::check_finite(const RelevanceSums& sums, const SweepPart& part, std::int64_t first, std::int64_t k,
                               std::int64_t first_picture, std::int64_t pictures) const {
  const std::int64_t broken = sums.first_not_finite(first, k);
  if (broken < 0) return;
  throw_broken(task_, part.rows[static_cast<std::size_t>(broken)], first_picture, pictures, activations());
}

void SweepEngine::halve_or_rethrow(std::int64_t pictures, std::int64_t smallest) {
  const std::lock_guard lock(batch_mutex_);
  styleclip::halve_or_rethrow(batch_, pictures, smallest, task_.generator.device());
}

}  // namespace styleclip
