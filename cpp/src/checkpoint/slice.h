// A run of bytes that somebody owns: a part of the mapped file, or of a buffer that was unpacked from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "styleclip/error.h"

namespace styleclip::checkpoint {

/// What is wrong with the bytes being read, thrown by code that does not know where in the file it is; whoever knows
/// catches it and throws an Error that says so too (Reading::fail).
struct Flaw {
  ErrorCode code;
  std::string what;
};

[[noreturn]] inline void damaged(std::string what) { throw Flaw{ErrorCode::FileDamaged, std::move(what)}; }
[[noreturn]] inline void unknown(std::string what) { throw Flaw{ErrorCode::FormatUnknown, std::move(what)}; }

struct Slice {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
  std::shared_ptr<const void> owner;  // keeps `data` alive
  std::size_t mapped = 0;             // size of the mapped file that `owner` points to and `data` is a part of; 0: none

  std::string_view text() const { return {reinterpret_cast<const char*>(data), size}; }
  /// `bytes` bytes from `at`; throws Flaw when they are not all there.
  Slice part(std::uint64_t at, std::uint64_t bytes) const {
    if (at > size || bytes > size - at) damaged("it ends too early");
    return {data + at, static_cast<std::size_t>(bytes), owner, mapped};
  }
  Slice from(std::uint64_t at) const { return part(at, at > size ? 0 : size - at); }
};

inline Slice own(std::string bytes) {
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  return {reinterpret_cast<const std::uint8_t*>(owner->data()), owner->size(), owner};
}

/// A little-endian (or, told so, big-endian) number; the caller has checked that its bytes are there.
template <typename T>
T load_number(const std::uint8_t* data, bool big = false) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | static_cast<T>(data[i]) << (8 * (big ? sizeof(T) - 1 - i : i)));
  }
  return value;
}

}  // namespace styleclip::checkpoint
