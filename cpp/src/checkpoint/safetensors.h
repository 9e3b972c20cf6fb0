// The one parser of .safetensors (huggingface/safetensors, README "Format"): eight bytes of header length, a JSON header,
// raw little-endian data. Every number of the header is checked before memory is touched.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/slice.h"

namespace styleclip::checkpoint {

struct SafetensorsEntry {
  std::string name;
  c10::ScalarType type{};
  std::vector<std::int64_t> sizes;
  std::uint64_t begin = 0, end = 0;  // of the file
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

/// Throws Flaw (FileDamaged): lengths, names, types, shapes and offsets all have to fit, and the tensors have to fill the
/// data without gap or overlap.
SafetensorsHeader read_safetensors_header(const Slice& file);

/// Whether bytes begin like such a file.
bool is_safetensors(const Slice& file);

}  // namespace styleclip::checkpoint
