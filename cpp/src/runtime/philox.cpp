// Philox 4x32-10 and the two distributions made of it; see philox.h.
#include "runtime/philox.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace styleclip {
namespace {

// Multipliers and Weyl increments of the paper (table 2 and section 3.3).
constexpr std::uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
constexpr double kUnit = 1.0 / 4294967296.0;  // 2^-32

PhiloxWords block(std::int64_t index, std::uint64_t seed, std::uint32_t stream, std::uint64_t sample) noexcept {
  return philox4x32({static_cast<std::uint32_t>(index), stream, static_cast<std::uint32_t>(sample),
                     static_cast<std::uint32_t>(sample >> 32)},
                    {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
}

}  // namespace

PhiloxWords philox4x32(PhiloxWords counter, std::array<std::uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{kMultiplier0} * counter[0];
    const std::uint64_t p1 = std::uint64_t{kMultiplier1} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

void philox_normal(float* out, std::int64_t count, std::uint64_t seed, std::uint32_t stream,
                   std::uint64_t sample) noexcept {
  for (std::int64_t first = 0; first < count; first += 4) {
    const PhiloxWords words = block(first / 4, seed, stream, sample);
    float normals[4];
    for (int pair = 0; pair < 4; pair += 2) {
      const double radius = std::sqrt(-2.0 * std::log((words[pair] + 1.0) * kUnit));
      const double angle = 2.0 * std::numbers::pi * ((words[pair + 1] + 1.0) * kUnit);
      normals[pair] = static_cast<float>(radius * std::cos(angle));
      normals[pair + 1] = static_cast<float>(radius * std::sin(angle));
    }
    std::copy_n(normals, std::min<std::int64_t>(4, count - first), out + first);
  }
}

void philox_uniform(float* out, std::int64_t count, std::uint64_t seed, std::uint32_t stream,
                    std::uint64_t sample) noexcept {
  for (std::int64_t first = 0; first < count; first += 4) {
    const PhiloxWords words = block(first / 4, seed, stream, sample);
    for (std::int64_t i = 0; i < std::min<std::int64_t>(4, count - first); ++i) {
      // The upper 24 bits: every value is a float, so none rounds up to 1.
      out[first + i] = static_cast<float>(words[i] >> 8) * 0x1p-24F;
    }
  }
}

}  // namespace styleclip
