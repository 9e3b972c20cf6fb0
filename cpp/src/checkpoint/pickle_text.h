// Text and numbers as pickles write them.
#pragma once

#include <string>
#include <string_view>

#include "checkpoint/slice.h"

namespace styleclip::checkpoint {

bool is_utf8(std::string_view text) noexcept;
void append_utf8(std::string& text, char32_t code);

/// Protocol 0's quoted, escaped string (Python's repr); throws Flaw.
std::string unquote(std::string_view text);
/// Protocol 0's raw-unicode-escape, as UTF-8; throws Flaw.
std::string decode_raw_unicode(std::string_view text);
/// Each character as one byte; throws Flaw for one above U+00FF.
std::string encode_latin1(std::string_view utf8);

/// Python's repr of a float; throws Flaw.
double parse_float(std::string_view text);
/// A two's complement integer of any length, little-endian, as a double.
double long_as_double(const std::uint8_t* data, std::size_t bytes);

}  // namespace styleclip::checkpoint
