// SHA-256, written from FIPS 180-4. The round constants are the first 32 bits of the fractional parts of the cube roots
// of the first 64 primes; they are computed once, in integers, rather than typed.
#include "runtime/sha256.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "styleclip/error.h"

namespace styleclip {
namespace {

// floor(2^32 * (cbrt(p) - floor(cbrt(p)))): the largest n with n^3 <= p * 2^96, less its whole part.
constexpr std::uint32_t cube_root_fraction(std::uint64_t prime) {
  unsigned __int128 low = 0, high = static_cast<unsigned __int128>(8) << 32;
  while (high - low > 1) {
    const unsigned __int128 middle = (low + high) / 2;
    // Compare middle^3 with prime * 2^96 without 192-bit numbers: middle < 2^35, so its square fits in 70 bits; the
    // product is taken in two halves of 64 bits.
    const unsigned __int128 square = middle * middle;
    const unsigned __int128 low_product = (square & 0xffffffffffffffffULL) * middle;
    const unsigned __int128 high_product = (square >> 64) * middle + (low_product >> 64);
    const unsigned __int128 limit = static_cast<unsigned __int128>(prime) << 32;
    const bool above = high_product > limit || (high_product == limit && static_cast<std::uint64_t>(low_product) != 0);
    (above ? high : low) = middle;
  }
  return static_cast<std::uint32_t>(low);
}

constexpr std::array<std::uint32_t, 64> round_constants() {
  std::array<std::uint32_t, 64> constants{};
  std::size_t count = 0;
  for (std::uint64_t n = 2; count < constants.size(); ++n) {
    bool prime = true;
    for (std::uint64_t d = 2; d * d <= n; ++d) prime = prime && n % d != 0;
    if (prime) constants[count++] = cube_root_fraction(n);
  }
  return constants;
}

constexpr std::array<std::uint32_t, 64> kRound = round_constants();

}  // namespace

void Sha256::block(const std::uint8_t* data) {
  std::array<std::uint32_t, 64> w;
  for (std::size_t i = 0; i < 16; ++i) {
    w[i] = std::uint32_t{data[4 * i]} << 24 | std::uint32_t{data[4 * i + 1]} << 16 |
           std::uint32_t{data[4 * i + 2]} << 8 | data[4 * i + 3];
  }
  for (std::size_t i = 16; i < 64; ++i) {
    const std::uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (std::size_t i = 0; i < 64; ++i) {
    const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
    const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const std::uint32_t add[] = {a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < 8; ++i) state_[i] += add[i];
}

void Sha256::update(const void* data, std::size_t bytes) {
  const auto* at = static_cast<const std::uint8_t*>(data);
  const std::size_t held = bytes_ % 64;
  bytes_ += bytes;
  if (held > 0) {
    const std::size_t take = std::min(bytes, 64 - held);
    std::memcpy(pending_.data() + held, at, take);
    at += take, bytes -= take;
    if (held + take < 64) return;
    block(pending_.data());
  }
  for (; bytes >= 64; at += 64, bytes -= 64) block(at);
  if (bytes > 0) std::memcpy(pending_.data(), at, bytes);
}

std::string Sha256::hex() {
  const std::uint64_t bits = bytes_ * 8;
  const std::uint8_t end = 0x80, zero = 0;
  update(&end, 1);
  while (bytes_ % 64 != 56) update(&zero, 1);
  std::uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
  update(length, 8);
  std::string text;
  for (const std::uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[(word >> shift) & 15];
  }
  return text;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.hex();
}

std::string sha256_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw Error(ErrorCode::FileNotFound, "Cannot open " + path + ": " + std::strerror(errno) + ".", "Check the path.");
  Sha256 hash;
  std::vector<char> piece(1 << 20);
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hash.update(piece.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) throw Error(ErrorCode::FileNotFound, "Cannot read " + path + ".", "Check the file and its disk.");
  return hash.hex();
}

}  // namespace styleclip
