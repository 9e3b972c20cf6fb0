// Header of a .safetensors file.
#include "checkpoint/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "checkpoint/containers.h"

namespace styleclip::checkpoint {
namespace {

constexpr std::uint64_t kMostHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::size_t kMostParts = 4'000'000;            // of the JSON, which bounds its memory
constexpr int kMostDepth = 3;                            // {name: {shape: [size]}}

std::optional<c10::ScalarType> type_of(const std::string& name) {
  static const std::map<std::string, c10::ScalarType> types = {{"F64", c10::kDouble},
                                                               {"F32", c10::kFloat},
                                                               {"F16", c10::kHalf},
                                                               {"BF16", c10::kBFloat16},
                                                               {"F8_E4M3", c10::kFloat8_e4m3fn},
                                                               {"F8_E5M2", c10::kFloat8_e5m2},
                                                               {"F8_E8M0", c10::kFloat8_e8m0fnu},
                                                               {"C64", c10::kComplexFloat},
                                                               {"I64", c10::kLong},
                                                               {"I32", c10::kInt},
                                                               {"I16", c10::kShort},
                                                               {"I8", c10::kChar},
                                                               {"U64", c10::kUInt64},
                                                               {"U32", c10::kUInt32},
                                                               {"U16", c10::kUInt16},
                                                               {"U8", c10::kByte},
                                                               {"BOOL", c10::kBool}};
  const auto found = types.find(name);
  return found == types.end() ? std::nullopt : std::optional(found->second);
}

/// Parses with bounds on depth and size, and refuses a name that comes twice.
nlohmann::json parse(std::string_view text) {
  std::size_t parts = 0;
  std::set<std::string> names;
  const auto bound = [&](int depth, nlohmann::json::parse_event_t event, const nlohmann::json& value) {
    if (++parts > kMostParts || depth > kMostDepth) damaged("its header is no table of tensors");
    if (event == nlohmann::json::parse_event_t::key && depth == 1 && !names.insert(value.get<std::string>()).second) {
      damaged("its header names '" + value.get<std::string>() + "' twice");
    }
    return true;
  };
  return nlohmann::json::parse(text, bound, false);
}

SafetensorsEntry read_entry(const std::string& name, const nlohmann::json& value, std::uint64_t data_bytes) {
  const auto bad = [&](const std::string& what) { damaged("tensor '" + name + "' " + what); };
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
      !value["shape"].is_array() || !value.contains("data_offsets") || !value["data_offsets"].is_array() ||
      value["data_offsets"].size() != 2) {
    bad("lacks dtype, shape or data_offsets");
  }
  SafetensorsEntry entry;
  entry.name = name;
  const auto type = type_of(value["dtype"].get<std::string>());
  if (!type)
    damaged("tensor '" + name + "' has the unknown dtype " +
            value["dtype"].dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  entry.type = *type;
  std::uint64_t bytes = c10::elementSize(entry.type);
  for (const nlohmann::json& one : value["shape"]) {
    if (!one.is_number_unsigned()) bad("has a size that is no whole number");
    const std::uint64_t size = one.get<std::uint64_t>();
    if (size > 0 && bytes > data_bytes / size) bad("has a shape larger than the file");
    bytes *= size;
    entry.sizes.push_back(static_cast<std::int64_t>(size));
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

bool is_safetensors(const Slice& file) {
  constexpr std::size_t kLengthBytes = 8;
  constexpr std::uint64_t kImpossible = 1ULL << 40U;  // so that a wrong length is still told as such
  return file.size > kLengthBytes && file.data[kLengthBytes] == '{' &&
         load_number<std::uint64_t>(file.data) < kImpossible;
}

SafetensorsHeader read_safetensors_header(const Slice& file) {
  if (file.size < 8) damaged("it is shorter than eight bytes");
  const auto header_bytes = load_number<std::uint64_t>(file.data);
  if (header_bytes > kMostHeaderBytes || header_bytes > file.size - 8) damaged("its header length is impossible");
  const nlohmann::json json = parse(file.part(8, header_bytes).text());
  if (!json.is_object()) damaged("its header is no JSON object");

  const std::uint64_t data_at = 8 + header_bytes, data_bytes = file.size - data_at;
  SafetensorsHeader header;
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__") {
      header.entries.push_back(read_entry(name, value, data_bytes));
    } else if (value.is_object()) {
      for (const auto& [key, text] : value.items()) {
        if (text.is_string()) header.metadata[key] = text.get<std::string>();
      }
    }
  }
  // Sorted by place, the tensors have to fill the data without a gap or an overlap.
  std::sort(header.entries.begin(), header.entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t next = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin != next) damaged("tensor '" + entry.name + "' overlaps another or leaves a gap");
    next = entry.end;
  }
  if (next != data_bytes) damaged("it has bytes that belong to no tensor");
  for (SafetensorsEntry& entry : header.entries) entry.begin += data_at, entry.end += data_at;
  return header;
}

Value read_safetensors(Reading& reading, const Slice& file, std::map<std::string, std::string>& metadata) {
  SafetensorsHeader header = read_safetensors_header(file);
  metadata = std::move(header.metadata);
  std::sort(header.entries.begin(), header.entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) { return a.name < b.name; });
  Entries tensors;
  for (SafetensorsEntry& entry : header.entries) {
    const Slice bytes = file.part(entry.begin, entry.end - entry.begin);
    auto store = reading.store(bytes, static_cast<unsigned>(c10::elementSize(entry.type)), 1);
    std::vector<std::int64_t> strides = dense_strides(entry.sizes);
    Value tensor = reading.tensor(std::move(store), entry.type, 0, std::move(entry.sizes), std::move(strides));
    tensors.emplace_back(reading.text(std::move(entry.name)), std::move(tensor));
  }
  return reading.dict(std::move(tensors));
}

}  // namespace styleclip::checkpoint
