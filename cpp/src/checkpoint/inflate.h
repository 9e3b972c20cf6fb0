// Deflated entries of zip files (RFC 1951).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "checkpoint/slice.h"

namespace styleclip::checkpoint {

/// Unpacks in pieces of at most 32 KiB. Throws Flaw unless the stream is sound and has exactly `bytes` bytes.
void inflate(const Slice& packed, std::uint64_t bytes,
             const std::function<void(const std::uint8_t* data, std::size_t size)>& piece);

/// The same of the first `bytes` bytes only; what comes after them is not looked at.
void inflate_beginning(const Slice& packed, std::uint64_t bytes,
                       const std::function<void(const std::uint8_t* data, std::size_t size)>& piece);

}  // namespace styleclip::checkpoint
