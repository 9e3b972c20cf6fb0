// What a method of the sweep is to those who run it: something that adds a rectangle of channels and sample pictures to
// sums. A whole sweep is one rectangle, a shard a smaller one; progress, resuming, files and the finished table know
// nothing of how pictures are painted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

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

/// Any rows of SweepInputs::moving, ascending, in sample pictures first_picture ….
struct SweepPart {
  std::vector<std::int64_t> rows;
  std::int64_t first_picture = 0, pictures = 0;
};

/// All that a method works on; owned by the caller and alive as long as the engine.
struct SweepTask {
  Generator& generator;
  Clip& clip;
  const SweepInputs& inputs;
  const SweepOptions& options;
  const RunContext& run;
  /// Sums must be the same bits wherever and whenever they are computed: nothing that changes them may hang on what
  /// is not in a plan, such as free memory. A batch that had to be halved is the exception, and is recorded.
  bool planned = false;
};

/// Flat S indices of rows of SweepInputs::moving, and their places in SweepInputs::channels: both [rows] int64 on the base's
/// device.
std::pair<at::Tensor, at::Tensor> indices_of(const SweepInputs& inputs, const std::vector<std::int64_t>& rows);

/// Whether plus[i] and minus[i] are the same bit for bit, as memcmp says: [n] bool. Contiguous, of any type and device.
at::Tensor same_bits(const at::Tensor& plus, const at::Tensor& minus);
/// Bytes that it takes for a pair of pictures of so many numbers, beside the pictures.
std::int64_t alike_bytes(std::int64_t numbers);

/// Where two pictures are the same bit for bit, plus[i] and minus[i], embedding f_plus[i] is written over f_minus[i]: in a
/// batch a library may round one picture apart from another that is its copy, and a channel that changes nothing would have
/// some direction. All contiguous; pictures [n, …], embeddings [n, dim].
void embed_alike(const at::Tensor& plus, const at::Tensor& minus, const at::Tensor& f_plus, const at::Tensor& f_minus);

class SweepEngine {
 public:
  explicit SweepEngine(const SweepTask& task);
  virtual ~SweepEngine() = default;
  SweepEngine(const SweepEngine&) = delete;
  SweepEngine& operator=(const SweepEngine&) = delete;

  /// Adds the part: row i of `sums` is part.rows[i]. Steps `meter` by pictures painted. Where memory runs out the batch is
  /// halved and the piece done again. Throws NotFinite naming layer and channel, Aborted within one batch, OutOfMemory where a
  /// single pair of pictures does not fit.
  virtual void add(const SweepPart& part, RelevanceSums& sums, ProgressMeter& meter) = 0;
  /// The same, picture by picture: each[i] takes what picture first_picture + i adds. `each` has part.pictures elements.
  virtual void add_each(const SweepPart& part, std::vector<RelevanceSums>& each, ProgressMeter& meter);
  /// Adds the block: row i of `sums` is row first_row + i of the sweep. Returns the pictures painted. Throws as add().
  virtual std::int64_t run(const SweepBlock& block, RelevanceSums& sums, ProgressMeter& meter);
  /// "reference", "exact", …: what computes, which may be another than what was asked for.
  virtual std::string implementation() const = 0;
  /// Pictures a forward at present. It falls when memory runs out, and the sums' last bits hang on it.
  virtual std::int64_t batch() const { return batch_; }
  /// Bytes that the sweep takes with its smallest batches, whatever memory it is given; 0 where the batch was given. An
  /// upper estimate: docs/performance.md, "Memory".
  virtual std::int64_t least_bytes() const { return least_bytes_; }
  /// Whether a block must hold all sample pictures of its rows, since what is done depends on what came before.
  virtual bool needs_all_pictures() const { return false; }
  /// Numbers of a row of the sums.
  virtual std::int64_t row_width() const { return task_.clip.embedding_dim(); }
  /// Number type of a picture's activations: by default the generator's own.
  virtual at::ScalarType activations() const;
  /// Pictures that a block paints, at most.
  virtual std::int64_t work(const SweepBlock& block) const { return 2 * block.rows * block.pictures; }

 protected:
  /// Throws NotFinite, as throw_broken() does, when rows [first, first + k) of `sums`, the part's own numbering, hold a number
  /// that is not finite; sample pictures first_picture … first_picture + pictures − 1 were added since they were known not to.
  void check_finite(const RelevanceSums& sums, const SweepPart& part, std::int64_t first, std::int64_t k,
                    std::int64_t first_picture, std::int64_t pictures) const;
  /// The block as a part.
  static SweepPart part_of(const SweepBlock& block);
  /// The batch asked for; else the largest multiple of `smallest`, up to `largest`, that memory_bound() has room for, given
  /// what the whole sweep takes with a batch. Returns the bytes that the sweep may take: the bound, or least_bytes().
  std::int64_t plan_batch(std::int64_t smallest, std::int64_t largest,
                          const std::function<std::int64_t(std::int64_t pictures)>& bytes);
  /// halve_or_rethrow of the engine's batch. Thread-safe.
  void halve_or_rethrow(std::int64_t pictures, std::int64_t smallest);

  const SweepTask task_;
  std::int64_t batch_ = 1;

 private:
  std::int64_t least_bytes_ = 0;
  std::mutex batch_mutex_;
};

/// The engine of a method whose sums add up over blocks: "reference", "exact". Argument for another name.
std::unique_ptr<SweepEngine> make_engine(const std::string& method, const SweepTask& task);

}  // namespace styleclip
