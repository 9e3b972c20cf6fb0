// Escapes of Python's string literals (Language Reference 2.4.1) and UTF-8 (RFC 3629).
#include "checkpoint/pickle_text.h"

#include <charconv>
#include <cmath>

namespace styleclip::checkpoint {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// `count` hexadecimal digits at `at`, which moves behind them.
char32_t read_hex(std::string_view text, std::size_t& at, std::size_t count) {
  if (count > text.size() - at) damaged("a string ends inside an escape");
  char32_t value = 0;
  for (const std::size_t end = at + count; at < end; ++at) {
    const int digit = hex_digit(text[at]);
    if (digit < 0) damaged("a string has a wrong escape");
    value = value * 16 + static_cast<char32_t>(digit);
  }
  return value;
}

/// Length of the UTF-8 sequence at `at` and its code point; 0 when it is none.
std::size_t decode(std::string_view text, std::size_t at, char32_t& code) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return code = first, 1;
  const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  if (length == 0 || length > text.size() - at) return 0;
  code = first & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(at + i) & 0x3fU);
  }
  if ((length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10ffff))) return 0;
  return code >= 0xd800 && code < 0xe000 ? 0 : length;
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  char32_t code = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = decode(text, at, code);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

void append_utf8(std::string& text, char32_t code) {
  const auto add = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xc0 | code >> 6), add(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    add(0xe0 | code >> 12), add(0x80 | (code >> 6 & 0x3f)), add(0x80 | (code & 0x3f));
  } else {
    add(0xf0 | code >> 18), add(0x80 | (code >> 12 & 0x3f)), add(0x80 | (code >> 6 & 0x3f)), add(0x80 | (code & 0x3f));
  }
}

std::string unquote(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r' || text.back() == '\t')) text.remove_suffix(1);
  if (text.size() < 2 || (text.front() != '\'' && text.front() != '"') || text.back() != text.front()) {
    damaged("a string lacks its quotes");
  }
  text = text.substr(1, text.size() - 2);
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at++];
    if (c != '\\') {
      out += c;
      continue;
    }
    if (at == text.size()) damaged("a string ends inside an escape");
    const char kind = text[at++];
    constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    if (const std::size_t letter = kLetters.find(kind); letter != std::string_view::npos) {
      out += kMeanings[letter];
    } else if (kind == 'x') {
      out += static_cast<char>(read_hex(text, at, 2));
    } else if (kind >= '0' && kind <= '7') {
      int value = kind - '0';
      for (int i = 0; i < 2 && at < text.size() && text[at] >= '0' && text[at] <= '7'; ++i)
        value = value * 8 + (text[at++] - '0');
      out += static_cast<char>(value);
    } else {
      out += '\\', out += kind;  // Python keeps what it does not know
    }
  }
  return out;
}

std::string decode_raw_unicode(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    char32_t code = static_cast<unsigned char>(text[at++]);
    if (code == '\\' && at < text.size() && (text[at] == 'u' || text[at] == 'U')) {
      const std::size_t digits = text[at++] == 'u' ? 4 : 8;
      code = read_hex(text, at, digits);
      if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) damaged("a string has an impossible character");
    }
    append_utf8(out, code);
  }
  return out;
}

std::string encode_latin1(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  char32_t code = 0;
  for (std::size_t at = 0; at < utf8.size();) {
    const std::size_t length = decode(utf8, at, code);
    if (length == 0 || code > 0xff) damaged("bytes written as text have a character above U+00FF");
    out += static_cast<char>(code);
    at += length;
  }
  return out;
}

double parse_float(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::invalid_argument || end != text.data() + text.size()) damaged("a number cannot be read");
  if (error == std::errc::result_out_of_range) damaged("a number is out of range");
  return value;
}

double long_as_double(const std::uint8_t* data, std::size_t bytes) {
  if (bytes == 0) return 0;
  // Two's complement: the bytes below the top one count up, the top one is signed.
  double value = static_cast<std::int8_t>(data[bytes - 1]);
  for (std::size_t i = bytes - 1; i-- > 0 && std::isfinite(value);) value = value * 256 + data[i];
  return value;
}

}  // namespace styleclip::checkpoint
