// Runs a long call in batches on the device thread: between two of them it can be stopped, and it says how far it is.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "styleclip/run.h"

namespace styleclip::binding {

/// Pictures of one forward pass where a caller gives no batch: enough to fill two cores at the cats' size, and small
/// enough for a 1024 px generator's activations (0.3 GB each).
constexpr std::int64_t kPictureBatch = 8;
/// Latents of one pass of the mapping or the affines, and prompts of one pass of the text tower: all of them small.
constexpr std::int64_t kVectorBatch = 256;

/// `work(first, count)` for consecutive ranges that cover 0 … total - 1.
template <class Work>
void in_batches(const RunContext& run, const std::string& phase, std::int64_t total, std::int64_t batch,
                const std::string& unit, Work&& work) {
  run.check();
  ProgressMeter meter(run, phase, total, unit);
  for (std::int64_t first = 0; first < total; first += batch) {
    const std::int64_t count = std::min(batch, total - first);
    work(first, count);
    meter.step(count);
  }
}

/// The same for a function from rows to rows: the results of all batches, one after another.
template <class Work>
at::Tensor mapped_in_batches(const RunContext& run, const std::string& phase, const at::Tensor& rows,
                             std::int64_t batch, const std::string& unit, Work&& work) {
  std::vector<at::Tensor> parts;
  in_batches(run, phase, rows.size(0), batch, unit,
             [&](std::int64_t first, std::int64_t count) { parts.push_back(work(rows.narrow(0, first, count))); });
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

}  // namespace styleclip::binding
