// Shard files. Nothing in one depends on when or how often it was computed, so that the same shard is the same file.
#include "relevance/shards/shard_file.h"

#include <ATen/Version.h>
#include <ATen/ops/empty.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "checkpoint/safetensors.h"
#include "runtime/atomic_file.h"
#include "runtime/sha256.h"
#include "styleclip/error.h"
#include "styleclip/runtime.h"

namespace styleclip::shards {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShardFormat = "styleclip.shard";
constexpr const char* kShardVersion = "1";
constexpr const char* kEnding = ".safetensors";
constexpr std::size_t kHashDigits = 64;
constexpr std::chrono::hours kLeftover{1};

using Metadata = std::map<std::string, std::string>;

// What a shard says of itself, apart from what came of computing it.
Metadata identity_of(const Plan& plan, std::int64_t index) {
  const SweepBlock block = plan.block(index);
  return {{"format", kShardFormat},
          {"version", kShardVersion},
          {"plan", plan.sha256},
          {"implementation", plan.implementation},
          {"shard", std::to_string(index)},
          {"first_row", std::to_string(block.first_row)},
          {"rows", std::to_string(block.rows)},
          {"first_image", std::to_string(block.first_picture)},
          {"images", std::to_string(block.pictures)}};
}

// Where the checksum's digits stand in a file's bytes; npos where there are none. Quotes within a value are escaped, so
// this text can only be the entry itself.
std::size_t find_checksum(const std::string& bytes) {
  static const std::string kBefore = R"("checksum":")";
  const std::size_t found = bytes.find(kBefore);
  if (found == std::string::npos || bytes.size() - found < kBefore.size() + kHashDigits) return std::string::npos;
  return found + kBefore.size();
}

// Of the bytes with zeros in the checksum's place.
std::string checksum_of(std::string bytes, std::size_t place) {
  return sha256_hex(bytes.replace(place, kHashDigits, kHashDigits, '0'));
}

// {name: {dtype, shape, data_offsets}} and the data, every element of eight bytes.
std::string format_shard(const Metadata& metadata, const RelevanceSums& sums) {
  nlohmann::json header = {{"__metadata__", metadata}};
  std::string data;
  const auto add = [&](const char* name, const char* type, const at::Tensor& tensor) {
    const at::Tensor host = tensor.to(at::kCPU).contiguous();
    header[name] = {
        {"dtype", type}, {"shape", host.sizes().vec()}, {"data_offsets", {data.size(), data.size() + host.nbytes()}}};
    data.append(static_cast<const char*>(host.const_data_ptr()), host.nbytes());
  };
  add("sum", "F64", sums.sum);
  add("magnitude", "F64", sums.magnitude);
  add("count", "I64", sums.count);
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(text.size() >> (8 * i) & 0xff);
  return bytes + text + data;
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::FileNotFound, path + " cannot be opened.", "Check the path and its permissions.");
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return std::move(bytes).str();
}

[[noreturn]] void damaged(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::FileDamaged, path + " is a damaged shard: " + why + ".",
              "Remove it and run the sweep again: only this shard is computed anew.");
}

[[noreturn]] void foreign(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::ResumeMismatch, path + " " + why + ".",
              "Move it out of the directory, or use another directory.");
}

void take(const std::string& path, const std::string& bytes, const std::vector<checkpoint::SafetensorsEntry>& entries,
          const char* name, const at::Tensor& into) {
  for (const checkpoint::SafetensorsEntry& entry : entries) {
    if (entry.name != name) continue;
    if (entry.type != into.scalar_type() || at::IntArrayRef(entry.sizes) != into.sizes()) {
      damaged(path, "'" + entry.name + "' has another shape or type");
    }
    if (into.nbytes() > 0) std::memcpy(into.mutable_data_ptr(), bytes.data() + entry.begin, into.nbytes());
    return;
  }
  damaged(path, "there is no '" + std::string(name) + "'");
}

// Names of the files in a directory.
std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(directory, error); !error && at != fs::directory_iterator(); at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  if (!error) return names;
  throw Error(ErrorCode::FileNotFound, directory + " cannot be read: " + error.message() + ".",
              "Check the path and its permissions.");
}

bool is_shard_name(const std::string& name) { return name.starts_with("shard-") && name.ends_with(kEnding); }

}  // namespace

std::string shard_path(const std::string& directory, const Plan& plan, std::int64_t index) {
  return (fs::path(directory) / (plan.id(index) + kEnding)).string();
}

void write_shard(const std::string& directory, const Plan& plan, std::int64_t index, const ShardSums& shard) {
  Metadata metadata = identity_of(plan, index);
  metadata["batch"] = std::to_string(shard.batch);
  metadata["rendered"] = std::to_string(shard.rendered);
  metadata["machine"] = shard.machine;
  metadata["checksum"] = std::string(kHashDigits, '0');
  std::string bytes = format_shard(metadata, shard.sums);
  bytes.replace(find_checksum(bytes), kHashDigits, sha256_hex(bytes));
  write_file_atomic(shard_path(directory, plan, index), bytes);
}

ShardSums read_shard(const std::string& directory, const Plan& plan, std::int64_t index) {
  const std::string path = shard_path(directory, plan, index);
  const std::string bytes = read_bytes(path);
  checkpoint::SafetensorsHeader header;
  try {
    const checkpoint::Slice file{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), nullptr};
    header = checkpoint::read_safetensors_header(file);
  } catch (const checkpoint::Flaw& flaw) {
    damaged(path, flaw.what);
  }
  Metadata& metadata = header.metadata;
  const std::size_t place = find_checksum(bytes);
  if (place == std::string::npos || metadata["checksum"] != checksum_of(bytes, place)) {
    damaged(path, "its checksum is another");
  }
  for (const auto& [key, value] : identity_of(plan, index)) {
    if (metadata[key] == value) continue;
    if (key == "plan" || key == "format" || key == "version") {
      foreign(path, "belongs to another sweep: its " + key + " is " + metadata[key].substr(0, 16));
    }
    foreign(path, "holds another shard than its name says: its " + key + " is " + metadata[key]);
  }
  const SweepBlock block = plan.block(index);
  ShardSums shard{RelevanceSums(block.rows, plan.embedding, at::kCPU), 0, 0, metadata["machine"]};
  take(path, bytes, header.entries, "sum", shard.sums.sum);
  take(path, bytes, header.entries, "magnitude", shard.sums.magnitude);
  take(path, bytes, header.entries, "count", shard.sums.count);
  try {
    shard.batch = std::stoll(metadata["batch"]);
    shard.rendered = std::stoll(metadata["rendered"]);
  } catch (const std::exception&) {
    damaged(path, "its metadata are no numbers");
  }
  return shard;
}

std::vector<bool> find_shards(const std::string& directory, const Plan& plan) {
  std::map<std::string, std::int64_t> expected;
  for (std::int64_t index = 0; index < plan.shards(); ++index) expected.emplace(plan.id(index) + kEnding, index);
  std::vector<bool> there(static_cast<std::size_t>(plan.shards()), false);
  for (const std::string& name : names_in(directory)) {
    if (!is_shard_name(name)) continue;
    const auto found = expected.find(name);
    if (found == expected.end()) foreign((fs::path(directory) / name).string(), "is no shard of the plan beside it");
    there[static_cast<std::size_t>(found->second)] = true;
  }
  return there;
}

void remove_leftovers(const std::string& directory) {
  for (const std::string& name : names_in(directory)) {
    const bool ours = name.starts_with("shard-") || name.starts_with("plan.json");
    if (!ours || name.find(".tmp-") == std::string::npos) continue;
    const fs::path path = fs::path(directory) / name;
    std::error_code error;
    const auto written = fs::last_write_time(path, error);
    if (!error && fs::file_time_type::clock::now() - written > kLeftover) fs::remove(path, error);
  }
}

std::string this_machine(const std::string& device) {
  if (!device.starts_with("cpu")) return device.substr(0, device.find(':'));
  std::string processor = "cpu";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t at = line.find(": ");
    if (at != std::string::npos) processor = line.substr(at + 2);
    break;
  }
  return processor + ", " + at::get_cpu_capability() + ", " + std::to_string(threads()) + " threads";
}

}  // namespace styleclip::shards
