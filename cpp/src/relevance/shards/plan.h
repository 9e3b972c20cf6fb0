// The plan of a sweep in shards: every setting that changes a number, what the shards are, and all that a merge needs
// when the models are not at hand. One file, plan.json, written once: whoever comes first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "relevance/engine.h"
#include "styleclip/relevance.h"
#include "styleclip/shards.h"
#include "styleclip/style_layout.h"

namespace styleclip::shards {

/// Name and JSON text of each setting, in the order of plan.json.
using Settings = std::vector<std::pair<std::string, std::string>>;

struct Plan {
  Settings settings;
  StyleLayout layout;
  StyleStatistics statistics;
  std::vector<std::int64_t> channels;  // as SweepInputs::channels
  std::vector<std::int64_t> moving;    // as SweepInputs::moving
  std::int64_t images = 0, embedding = 0;
  std::int64_t batch = 0;                         // pictures a forward that every shard starts with
  std::int64_t block_rows = 0, block_images = 0;  // of a full block
  std::string implementation;
  std::string sha256;  // of all of it

  std::int64_t row_blocks() const;
  std::int64_t image_blocks() const;
  std::int64_t shards() const { return row_blocks() * image_blocks(); }
  /// Shard number `index`. All rows of the first pictures come first; which rows begin changes from one block of pictures
  /// to the next, so that shares of every n-th shard cost alike: a low layer's channels cost more than a high one's.
  SweepBlock block(std::int64_t index) const;
  /// The same block's number.
  std::int64_t index_of(std::int64_t row_block, std::int64_t image_block) const;
  /// "shard-00007-93b885adfe0da089": number, and hash of plan and block.
  std::string id(std::int64_t index) const;
};

/// Settings that are known before any work is done.
Settings settings_of(const std::string& method, const Generator& generator, const Clip& clip,
                     const StyleStatistics& statistics, const SweepOptions& options);
/// What the engine and the cut into blocks add to `settings`.
void add_engine_settings(Settings& settings, const Plan& plan);

/// Rows and pictures of a block where the caller does not say: see the constants in plan.cpp.
void choose_blocks(Plan& plan, const Generator& generator, const Clip& clip);

/// The plan in a directory, or nothing. Throws FileDamaged, FormatVersion.
std::optional<Plan> read_plan(const std::string& directory);
/// Writes the plan and sets its sha256, unless another process was first: false then.
bool create_plan(const std::string& directory, Plan& plan);
/// Throws ResumeMismatch naming each of `wanted` that the plan has otherwise.
void require_same(const std::string& directory, const Plan& plan, const Settings& wanted);
/// plan.json's "settings" as text.
std::string settings_json(const Plan& plan);

}  // namespace styleclip::shards
