// What all engines share: their batch, and what they say of numbers that are none.
#include "relevance/engine.h"

#include <ATen/DeviceAccelerator.h>

#include <algorithm>
#include <numeric>

#include "relevance/batching.h"

namespace styleclip {

SweepEngine::SweepEngine(const SweepTask& task)
    : task_(task),
      batch_(choose_batch(task.options.batch, task.options.memory_bytes,
                          picture_bytes(task.generator.layout(), task.clip.image_size()), task.generator.device())) {}

SweepPart SweepEngine::part_of(const SweepBlock& block) {
  SweepPart part{std::vector<std::int64_t>(static_cast<std::size_t>(block.rows)), block.first_picture, block.pictures};
  std::iota(part.rows.begin(), part.rows.end(), block.first_row);
  return part;
}

std::int64_t SweepEngine::run(const SweepBlock& block, RelevanceSums& sums, ProgressMeter& meter) {
  add(part_of(block), sums, meter);
  return work(block);
}

void SweepEngine::check_finite(const RelevanceSums& sums, const SweepPart& part, std::int64_t first,
                               std::int64_t k) const {
  const std::int64_t broken = sums.first_not_finite(first, k);
  if (broken < 0) return;
  const auto number = static_cast<std::size_t>(part.rows[static_cast<std::size_t>(broken)]);
  const std::int64_t row = task_.inputs.moving[number];
  throw Error(ErrorCode::NotFinite,
              "The pictures of " +
                  channel_name(task_.generator.layout(), task_.inputs.channels[static_cast<std::size_t>(row)]) +
                  " give an embedding that is not finite, or has no length.",
              "Check both models: render a few pictures and look; in half precision, try float32.");
}

void SweepEngine::halve_or_rethrow(std::int64_t pictures, std::int64_t smallest) {
  try {
    rethrow_translated("sweep the style channels");
  } catch (const Error& error) {
    if (error.code() != ErrorCode::OutOfMemory || pictures <= smallest) throw;
  }
  const std::lock_guard lock(batch_mutex_);
  batch_ = std::min(batch_, std::max(smallest, pictures / 2));
  if (!c10::Device(task_.generator.device()).is_cpu()) at::accelerator::emptyCache();
}

}  // namespace styleclip
