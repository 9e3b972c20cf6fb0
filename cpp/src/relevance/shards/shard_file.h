// One shard on the disk: a .safetensors file of sums, with what it is as metadata and a checksum over every byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "relevance/relevance_sums.h"
#include "relevance/shards/plan.h"

namespace styleclip::shards {

struct ShardSums {
  RelevanceSums sums;
  std::int64_t batch = 0;     // pictures a forward at its end
  std::int64_t rendered = 0;  // pictures
  std::string machine;        // this_machine() of the one that computed it
};

std::string shard_path(const std::string& directory, const Plan& plan, std::int64_t index);

/// Throws Disk, and leaves nothing behind then.
void write_shard(const std::string& directory, const Plan& plan, std::int64_t index, const ShardSums& shard);
/// Sums on the CPU. Throws FileNotFound when it cannot be opened, FileDamaged, and ResumeMismatch when it is whole but of
/// another plan or block; each by name.
ShardSums read_shard(const std::string& directory, const Plan& plan, std::int64_t index);

/// Which shards are there, by name, [plan.shards()]. Throws ResumeMismatch naming a shard file that is none of the plan's.
std::vector<bool> find_shards(const std::string& directory, const Plan& plan);
/// Removes temporary files that a killed process left: those that nobody has written to for an hour.
void remove_leftovers(const std::string& directory);

/// "AMD EPYC, AVX512, 2 threads"; "cuda". Sums of one kind of machine are the same bits.
std::string this_machine(const std::string& device);

}  // namespace styleclip::shards
