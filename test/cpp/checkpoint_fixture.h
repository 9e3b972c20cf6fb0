// What the tests of checkpoints share: the committed files, the JSON that says what each reads as, and pickles written by
// hand, opcode by opcode.
#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/checkpoint.h"
#include "styleclip/error.h"
#include "tiny_world.h"

namespace checkpoint_fixture {

using styleclip::Error;
using styleclip::ErrorCode;
using styleclip::checkpoint::Checkpoint;
using styleclip::checkpoint::Limits;
using styleclip::checkpoint::Value;
using tiny::error_of;
using tiny::TemporaryFile;

inline std::string folder() {
  const char* data = std::getenv("STYLECLIP_TEST_DATA");
  REQUIRE_MESSAGE(data != nullptr, "STYLECLIP_TEST_DATA names the folder test/data; ctest sets it");
  return std::string(data) + "/checkpoints/";
}

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), path);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline const nlohmann::json& expected() {
  static const nlohmann::json all = nlohmann::json::parse(contents(folder() + "expected.json"));
  return all;
}

inline Checkpoint read(const std::string& path, const Limits& limits = {}) {
  return Checkpoint::read(path, {}, limits);
}

/// Of bytes in a temporary file, which is gone when the call returns; what was read stays.
inline Checkpoint read_bytes(const std::string& bytes, const Limits& limits = {}) {
  const TemporaryFile file(bytes);
  return read(file.path(), limits);
}

inline Error failure(const std::string& bytes, const Limits& limits = {}) {
  return error_of([&] { read_bytes(bytes, limits); });
}

inline bool says(const Error& error, const std::string& words) {
  return std::string(error.what()).find(words) != std::string::npos;
}

}  // namespace checkpoint_fixture
