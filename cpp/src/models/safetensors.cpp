// Reads .safetensors: eight bytes of header length, a JSON header, raw little-endian data
// (huggingface/safetensors, README "Format"). Every number of the header is checked before memory is touched.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "styleclip/error.h"
#include "styleclip/models.h"

namespace styleclip {
namespace {

constexpr std::uint64_t kMostHeaderBytes = 100'000'000;  // the format's own limit

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::FileDamaged, path + " is no sound .safetensors file: " + what + ".",
              "Get or make the file again.");
}

std::optional<at::ScalarType> type_of(const std::string& name) {
  static const std::map<std::string, at::ScalarType> types = {
      {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}, {"I64", at::kLong},
      {"I32", at::kInt},    {"I16", at::kShort}, {"I8", at::kChar},  {"U8", at::kByte},       {"BOOL", at::kBool}};
  const auto found = types.find(name);
  return found == types.end() ? std::nullopt : std::optional(found->second);
}

struct Entry {
  std::string name;
  at::ScalarType type{};
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

Entry read_entry(const std::string& path, const std::string& name, const nlohmann::json& value,
                 std::uint64_t data_bytes) {
  const auto bad = [&](const std::string& what) { damaged(path, "tensor '" + name + "' " + what); };
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
      !value["shape"].is_array() || !value.contains("data_offsets") || !value["data_offsets"].is_array() ||
      value["data_offsets"].size() != 2) {
    bad("lacks dtype, shape or data_offsets");
  }
  Entry entry;
  entry.name = name;
  const auto type = type_of(value["dtype"].get<std::string>());
  if (!type) bad("has the unknown dtype " + value["dtype"].dump());
  entry.type = *type;
  std::uint64_t bytes = c10::elementSize(entry.type);
  for (const nlohmann::json& one : value["shape"]) {
    if (!one.is_number_unsigned()) bad("has a size that is no whole number");
    const std::uint64_t size = one.get<std::uint64_t>();
    if (size > 0 && bytes > data_bytes / size) bad("has a shape larger than the file");
    bytes *= size;
    entry.shape.push_back(static_cast<std::int64_t>(size));
  }
  for (const nlohmann::json& one : value["data_offsets"]) {
    if (!one.is_number_unsigned()) bad("has an offset that is no whole number");
  }
  entry.begin = value["data_offsets"][0].get<std::uint64_t>();
  entry.end = value["data_offsets"][1].get<std::uint64_t>();
  if (entry.begin > entry.end || entry.end > data_bytes) bad("lies outside the file");
  if (entry.end - entry.begin != bytes) bad("has offsets that do not fit its shape");
  return entry;
}

}  // namespace

std::map<std::string, at::Tensor> read_safetensors(const std::string& path) {
  std::error_code error;
  std::ifstream file(path, std::ios::binary);
  if (!file || !std::filesystem::is_regular_file(path, error)) {
    throw Error(ErrorCode::FileNotFound, "Cannot open " + path + ".", "Check the path and its permissions.");
  }
  const std::uint64_t file_bytes = std::filesystem::file_size(path);
  unsigned char length[8] = {};
  if (file_bytes < 8 || !file.read(reinterpret_cast<char*>(length), 8)) damaged(path, "it is shorter than eight bytes");
  std::uint64_t header_bytes = 0;
  for (int i = 0; i < 8; ++i) header_bytes |= std::uint64_t{length[i]} << (8 * i);
  if (header_bytes > kMostHeaderBytes || header_bytes > file_bytes - 8)
    damaged(path, "its header length is impossible");
  std::string text(header_bytes, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(header_bytes))) damaged(path, "its header cannot be read");
  const nlohmann::json header = nlohmann::json::parse(text, nullptr, false);
  if (!header.is_object()) damaged(path, "its header is no JSON object");

  const std::uint64_t data_at = 8 + header_bytes, data_bytes = file_bytes - data_at;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") entries.push_back(read_entry(path, name, value, data_bytes));
  }
  // Sorted by place, the tensors have to fill the data without a gap or an overlap.
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t next = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != next) damaged(path, "tensor '" + entry.name + "' overlaps another or leaves a gap");
    next = entry.end;
  }
  if (next != data_bytes) damaged(path, "it has bytes that belong to no tensor");

  std::map<std::string, at::Tensor> tensors;
  for (const Entry& entry : entries) {
    at::Tensor tensor = at::empty(entry.shape, entry.type);
    file.seekg(static_cast<std::streamoff>(data_at + entry.begin));
    file.read(static_cast<char*>(tensor.mutable_data_ptr()), static_cast<std::streamsize>(entry.end - entry.begin));
    if (!file) damaged(path, "the data of '" + entry.name + "' cannot be read");
    tensors[entry.name] = std::move(tensor);
  }
  return tensors;
}

}  // namespace styleclip
