// See working_memory.h.
#include "relevance/working_memory.h"

#include <ATen/Parallel.h>
#include <c10/core/Device.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "relevance/batching.h"
#include "runtime/allocations.h"
#include "runtime/crew.h"
#include "runtime/reused_memory.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

// Seen on the first sweeps of processes with models of 64 to 256 pixels: 16 MiB of libtorch's code and up to 14 MiB of compiled
// kernels and their constants, then 5 MiB of matrix products' buffers a thread (docs/performance.md, "Memory").
constexpr std::int64_t kLibrary = std::int64_t{32} << 20;
constexpr std::int64_t kLibraryThread = std::int64_t{6} << 20;

std::int64_t eighth_more(std::int64_t bytes) { return bytes + (bytes + 7) / 8; }

}  // namespace

std::int64_t memory_bound(const SweepTask& task) {
  return task.options.memory_bytes > 0 ? task.options.memory_bytes : free_memory(task.generator.device()) / 4;
}

std::int64_t library_bytes(const std::string& device) {
  return c10::Device(device).is_cpu() ? kLibrary + at::get_num_threads() * kLibraryThread : 0;
}

std::int64_t sums_bytes(std::int64_t rows, std::int64_t dim) {
  // RelevanceSums: a float64 row, a length and a count.
  return rows * (dim + 2) * static_cast<std::int64_t>(sizeof(double));
}

std::int64_t table_bytes(const SweepTask& task) {
  const SweepInputs& inputs = task.inputs;
  const auto codes = static_cast<std::int64_t>(inputs.base.nbytes() + inputs.plus.nbytes() + inputs.minus.nbytes());
  const std::int64_t rows = std::ssize(inputs.channels), dim = task.clip.embedding_dim();
  return codes + sums_bytes(std::ssize(inputs.moving), dim) +
         rows * (dim + 4) * static_cast<std::int64_t>(sizeof(float));
}

PictureBytes measure_pictures(const std::string& device, std::int64_t smallest,
                              const std::function<void(std::int64_t)>& work) {
  const at::Device place(device);
  const auto peak = [&](std::int64_t pictures) {
    std::int64_t bytes = 0;
    const auto run = [&] { bytes = allocations_of(place, [&] { work(pictures); }).peak; };
    if (place.is_cpu()) {
      Crew crew(1, [](const std::function<void()>& serve) { serve(); });
      const MemoryPool pool(0);  // what is measured leaves nothing on the heap
      const auto pooled = [&](std::size_t) {
        const UseMemoryPool use(pool);
        run();
      };
      crew.run(1, pooled, [](std::size_t) {});
    } else {
      run();
    }
    return eighth_more(bytes);
  };
  const std::int64_t one = peak(smallest);
  std::int64_t two = 2 * one;
  try {
    two = peak(2 * smallest);
  } catch (...) {
    std::int64_t pictures = 2 * smallest;
    halve_or_rethrow(pictures, pictures, smallest, device);  // no room for so many: as if nothing were shared
  }
  PictureBytes found;
  found.picture = std::max<std::int64_t>(0, two - one) / smallest;
  found.fixed = std::max<std::int64_t>(0, one - smallest * found.picture);
  return found;
}

std::int64_t batch_within(std::int64_t bound, std::int64_t smallest, std::int64_t largest,
                          const std::function<std::int64_t(std::int64_t)>& bytes) {
  std::int64_t batch = std::max(smallest, largest / smallest * smallest);
  while (batch > smallest && bytes(batch) > bound) batch -= smallest;
  return batch;
}

std::int64_t largest_batch(const std::string& device) {
  return choose_batch(0, std::numeric_limits<std::int64_t>::max(), 1, device);
}

}  // namespace styleclip
