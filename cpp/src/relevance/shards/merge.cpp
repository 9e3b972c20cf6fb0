// Shards become a table: sums are added in float64, for each block of rows in the order of the pictures.
#include <algorithm>

#include "relevance/shards/shard_file.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

using shards::Plan;

PlannedSweep planned(const Plan& plan, const std::vector<bool>& there) {
  PlannedSweep sweep;
  sweep.settings_json = shards::settings_json(plan);
  sweep.layout = plan.layout;
  sweep.statistics = plan.statistics;
  sweep.shards = plan.shards();
  sweep.present = std::count(there.begin(), there.end(), true);
  return sweep;
}

void require_all(const std::string& directory, const Plan& plan, const std::vector<bool>& there) {
  const auto missing = std::find(there.begin(), there.end(), false);
  if (missing == there.end()) return;
  throw Error(ErrorCode::FileNotFound,
              std::to_string(std::count(there.begin(), there.end(), false)) + " of the " +
                  std::to_string(plan.shards()) + " shards of " + directory +
                  " are missing: " + plan.id(missing - there.begin()) + " is the first.",
              "Run the sweep in this directory to its end, every share of it.");
}

}  // namespace

std::optional<PlannedSweep> read_sweep_plan(const std::string& directory) {
  const std::optional<Plan> plan = shards::read_plan(directory);
  if (!plan) return std::nullopt;
  return planned(*plan, shards::find_shards(directory, *plan));
}

MergedSweep merge_sweep(const std::string& directory, const RunContext& run) {
  const std::optional<Plan> plan = shards::read_plan(directory);
  if (!plan) {
    throw Error(ErrorCode::FileNotFound, directory + " holds no sweep: there is no plan.json.",
                "Name the directory that a sweep was run in.");
  }
  MergedSweep merged;
  const std::vector<bool> there = shards::find_shards(directory, *plan);
  merged.plan = planned(*plan, there);
  require_all(directory, *plan, there);

  RelevanceSums total(static_cast<std::int64_t>(plan->moving.size()), plan->embedding, at::kCPU);
  std::int64_t rendered = 0;
  std::int64_t batch = plan->batch;
  ProgressMeter meter(run, "merge", plan->shards(), "shards");
  for (std::int64_t row_block = 0; row_block < plan->row_blocks(); ++row_block) {
    for (std::int64_t image_block = 0; image_block < plan->image_blocks(); ++image_block) {
      run.check();
      const std::int64_t index = plan->index_of(row_block, image_block);
      const shards::ShardSums shard = shards::read_shard(directory, *plan, index);
      const SweepBlock block = plan->block(index);
      total.sum.narrow(0, block.first_row, block.rows).add_(shard.sums.sum);
      total.magnitude.narrow(0, block.first_row, block.rows).add_(shard.sums.magnitude);
      total.count.narrow(0, block.first_row, block.rows).add_(shard.sums.count);
      rendered += shard.rendered;
      batch = std::min(batch, shard.batch);
      if (std::find(merged.machines.begin(), merged.machines.end(), shard.machine) == merged.machines.end()) {
        merged.machines.push_back(shard.machine);
      }
      meter.step(1);
    }
  }
  merged.rows = finish_rows(total, plan->channels, plan->moving, plan->images);
  merged.rows.images = rendered;
  merged.rows.implementation = plan->implementation;
  merged.rows.batch = batch;
  return merged;
}

}  // namespace styleclip
