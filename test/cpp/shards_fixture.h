// A sweep of the tiny world in shards, and its directory.
#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "styleclip/shards.h"
#include "tiny_world.h"

namespace sharding {

namespace fs = std::filesystem;
using styleclip::Error;
using styleclip::ErrorCode;
using styleclip::RelevanceRows;
using styleclip::ShardedSweep;
using styleclip::ShardOptions;
using styleclip::StyleStatistics;
using styleclip::SweepOptions;
using styleclip::SweepShard;
using tiny::statistics;

/// A directory that is gone with the object.
class Folder {
 public:
  Folder() {
    static int number = 0;
    path_ =
        fs::temp_directory_path() / ("styleclip-shards-" + std::to_string(getpid()) + "-" + std::to_string(number++));
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path() const { return path_.string(); }
  /// Name -> bytes.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::directory_iterator(path_)) {
      found[entry.path().filename().string()] = read(entry.path().string());
    }
    return found;
  }
  static std::string read(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write(const std::string& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  }

 private:
  fs::path path_;
};

/// The names of the files that only one has, or whose bytes are not the same.
inline std::set<std::string> different(const Folder& a, const Folder& b) {
  const auto those = a.files(), these = b.files();
  std::set<std::string> names;
  const auto note = [&](const auto& files, const auto& others) {
    for (const auto& [name, bytes] : files) {
      const auto other = others.find(name);
      if (other == others.end() || other->second != bytes) names.insert(name);
    }
  };
  note(those, these);
  note(these, those);
  return names;
}

inline SweepOptions settings() {
  SweepOptions options;
  options.images = 5;
  options.sigmas = 3;
  options.layers = {"all"};
  options.batch = 6;
  return options;
}

/// Blocks of 20 of the 41 rows and 2 of the 5 pictures: 3 x 3 shards, small ones at both ends.
inline ShardOptions in(const Folder& folder, std::int64_t part = 1, std::int64_t parts = 1) {
  return {folder.path(), part, parts, 20, 2};
}
inline constexpr std::int64_t kShards = 9;

inline std::unique_ptr<ShardedSweep> open(const ShardOptions& shards, const SweepOptions& options = settings(),
                                          const std::string& method = "exact") {
  return ShardedSweep::open(method, tiny::generator(), tiny::clip(), statistics(), options, shards, {});
}

inline std::vector<SweepShard> run_all(ShardedSweep& sweep, const styleclip::RunContext& run = {}) {
  std::vector<SweepShard> shards;
  while (auto shard = sweep.next(run)) shards.push_back(*shard);
  return shards;
}

inline std::vector<SweepShard> run_all(const ShardOptions& shards, const SweepOptions& options = settings(),
                                       const std::string& method = "exact") {
  return run_all(*open(shards, options, method));
}

/// The directory of a sweep in one go, whose files all others have to be.
inline const Folder& finished() {
  static const Folder folder;
  static const bool done = run_all(in(folder)).size() == kShards;
  CHECK(done);
  return folder;
}

inline void copy_into(const Folder& from, const Folder& to) {
  fs::copy(from.path(), to.path(), fs::copy_options::recursive);
}

inline bool names(const Error& error, const std::string& text) {
  return std::string(error.what()).find(text) != std::string::npos;
}

}  // namespace sharding
