// A sweep in shards: the table of channels and sample pictures is cut into blocks, each one's sums stand in a file of
// their own, and merging adds the files up. A sweep that was stopped, by whatever, goes on where it was; many machines
// share one sweep by taking every n-th shard each.
//
// A directory holds `plan.json`, every setting that changes a number together with the statistics, and
// `shard-<number>-<hash>.safetensors`: float64 sums of unit differences, float64 sums of lengths, int64 counts. The hash is
// of the plan and the block. Files appear whole or not at all; a checksum inside each one covers all of it.
//
// The merged table is a function of the plan: the same bytes whether the shards were computed in one go, in many, or on
// many machines, as long as these are of one kind (processor or GPU, number of threads; every shard says which it was).
// Sums are added in float64, block after block.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "styleclip/models.h"
#include "styleclip/relevance.h"
#include "styleclip/run.h"
#include "styleclip/style_layout.h"

namespace styleclip {

/// Where the shards of a sweep lie, and which of them are the caller's.
struct ShardOptions {
  std::string directory;  // made when it is not there
  /// Of `parts` shares the share number `part`, from 1: every parts-th shard.
  std::int64_t part = 1, parts = 1;
  /// Channels and sample pictures of a shard. 0: what the plan in the directory says, else chosen from the models' size
  /// and the kind of device, never from the memory at hand.
  std::int64_t rows = 0, pictures = 0;
};

/// A shard that is on the disk.
struct SweepShard {
  std::string id;                      // "shard-00007-93b885adfe0da089"
  std::string file;                    // its path
  std::vector<std::int64_t> channels;  // flat indices into S
  std::int64_t first_picture = 0, pictures = 0;
  bool resumed = false;              // it was there already
  std::int64_t batch = 0;            // pictures a forward: smaller than the plan's where memory ran out
  std::int64_t rendered = 0;         // pictures, by this process or another
  std::int64_t done = 0, total = 0;  // shards of this share
  /// A damaged file that was computed again, by name; too little memory for any but the smallest batches; else empty.
  std::string warning;
};

/// One process's share of a sweep, shard by shard. Any number of processes may work in one directory at once: the same
/// shard computed twice is the same file.
class ShardedSweep {
 public:
  /// Goes on with the sweep in the directory, or writes a new plan there. The models must outlive it. An existing plan's
  /// batch holds where options.batch is 0. Throws ResumeMismatch when the directory holds a sweep with other settings,
  /// naming them, or a shard of another sweep, by name; FileDamaged, FormatVersion for a plan that cannot be read; Disk;
  /// Range for shares; Argument for a method whose sums do not add up over blocks; as sweep().
  static std::unique_ptr<ShardedSweep> open(const std::string& method, Generator& generator, Clip& clip,
                                            const StyleStatistics& statistics, const SweepOptions& options,
                                            const ShardOptions& shards, const RunContext& run);
  ~ShardedSweep();
  ShardedSweep(const ShardedSweep&) = delete;
  ShardedSweep& operator=(const ShardedSweep&) = delete;

  /// Shards of this share.
  std::int64_t size() const;
  /// The next shard of this share: computed and written, or found whole on the disk. Nothing after the last one. Progress
  /// counts the pictures of the whole share, those on the disk included; its rate is of those rendered now. Throws
  /// ResumeMismatch for a file that holds another shard, by name; Disk; as sweep(). After a throw nothing but whole shards
  /// is on the disk, and the same shard is next again.
  std::optional<SweepShard> next(const RunContext& run);

 private:
  struct State;
  explicit ShardedSweep(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// What a directory's plan says.
struct PlannedSweep {
  std::string settings_json;  // plan.json's "settings"
  StyleLayout layout;
  StyleStatistics statistics;
  std::int64_t shards = 0;   // in all
  std::int64_t present = 0;  // files that are there, by name
};

/// Nothing when there is no plan. Throws FileDamaged, FormatVersion.
std::optional<PlannedSweep> read_sweep_plan(const std::string& directory);

struct MergedSweep {
  PlannedSweep plan;
  RelevanceRows rows;  // `seconds` is 0: nothing in it depends on how the shards came about
  std::vector<std::string>
      machines;  // kinds of machine that computed shards; more than one may differ in the last bits
};

/// Adds up all shards. Throws FileNotFound when there is no plan, or shards are missing; FileDamaged naming the file;
/// ResumeMismatch naming a file that belongs to another sweep.
MergedSweep merge_sweep(const std::string& directory, const RunContext& run);

}  // namespace styleclip
