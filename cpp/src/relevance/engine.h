// What a method of the sweep is to those who run it: something that adds a rectangle of channels and sample pictures to
// sums. A whole sweep is one rectangle, a shard a smaller one; progress, resuming, files and the finished table know
// nothing of how pictures are painted.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "relevance/relevance_sums.h"
#include "relevance/sweep_inputs.h"
#include "styleclip/error.h"
#include "styleclip/models.h"
#include "styleclip/relevance.h"

namespace styleclip {

/// Rows first_row … of SweepInputs::moving, in sample pictures first_picture ….
struct SweepBlock {
  std::int64_t first_row = 0, rows = 0, first_picture = 0, pictures = 0;
};

/// All that a method works on; owned by the caller and alive as long as the engine.
struct SweepTask {
  Generator& generator;
  Clip& clip;
  const SweepInputs& inputs;
  const SweepOptions& options;
  const RunContext& run;
};

class SweepEngine {
 public:
  explicit SweepEngine(const SweepTask& task);
  virtual ~SweepEngine() = default;
  SweepEngine(const SweepEngine&) = delete;
  SweepEngine& operator=(const SweepEngine&) = delete;

  /// Adds the block: row i of `sums` is row first_row + i of the sweep. Steps `meter` by pictures painted. Where memory
  /// runs out the batch is halved and the piece done again. Throws NotFinite naming the channel, Aborted within one
  /// batch, OutOfMemory where a single pair of pictures does not fit.
  virtual void run(const SweepBlock& block, RelevanceSums& sums, ProgressMeter& meter) = 0;
  /// "reference", "exact", …: what computes, which may be another than what was asked for.
  virtual std::string implementation() const = 0;
  /// Pictures a forward at present. It falls when memory runs out, and the sums' last bits hang on it.
  std::int64_t batch() const { return batch_; }
  /// Pictures that a block paints.
  virtual std::int64_t work(const SweepBlock& block) const { return 2 * block.rows * block.pictures; }

 protected:
  /// Throws NotFinite when rows [first, first + k) of `sums`, the block's own numbering, hold a number that is not finite.
  void check_finite(const RelevanceSums& sums, const SweepBlock& block, std::int64_t first, std::int64_t k) const;
  /// attempt(), again with half of the batch whenever memory runs out. The attempt must not have changed anything.
  template <typename Attempt>
  void with_smaller_batches(Attempt&& attempt);

  const SweepTask task_;
  std::int64_t batch_ = 1;

 private:
  /// In a catch block: halves the batch where the exception says that memory ran out, else throws it on.
  void halve_or_rethrow();
};

template <typename Attempt>
void SweepEngine::with_smaller_batches(Attempt&& attempt) {
  for (;;) {
    try {
      return attempt();
    } catch (...) {
      halve_or_rethrow();
    }
  }
}

/// The engine of a method whose sums add up over blocks: "reference", "exact", "gradient". Argument for another name.
std::unique_ptr<SweepEngine> make_engine(const std::string& method, const SweepTask& task);

}  // namespace styleclip
