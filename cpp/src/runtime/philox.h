// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// A number depends on (seed, stream, sample, element) alone, so seeds mean the same on every device, for every batch
// size and thread count, and sample 99,999 costs no more than sample 0.
//
// Key = seed (low word, high word). Counter = (element / 4, stream, sample low, sample high). The four words of one
// counter make four normals, elements 4k..4k+3, by Box-Muller in double precision:
//   u = (word + 1) / 2^32 in (0, 1];  r = sqrt(-2 ln u0), a = 2 pi u1  ->  r cos a, r sin a;  words 2 and 3 alike.
#pragma once

#include <array>
#include <cstdint>

namespace styleclip {

using PhiloxWords = std::array<std::uint32_t, 4>;

/// Ten rounds of Philox 4x32.
PhiloxWords philox4x32(PhiloxWords counter, std::array<std::uint32_t, 2> key) noexcept;

/// What a number is for; keeps z, noise maps and initial weights of one seed apart.
enum class PhiloxStream : std::uint32_t {
  Z = 0,
  Noise = 0x10000,
  Weights = 0x20000,
  Probes = 0x30000,
  Restarts = 0x40000,
  Augmentation = 0x50000,
  Shuffle = 0x60000
};

/// count standard normals of one sample: out[i] is element i.
void philox_normal(float* out, std::int64_t count, std::uint64_t seed, std::uint32_t stream,
                   std::uint64_t sample) noexcept;

/// count numbers uniform in [0, 1): element i is the upper 24 bits of word i % 4 of counter i / 4, times 2^-24.
void philox_uniform(float* out, std::int64_t count, std::uint64_t seed, std::uint32_t stream,
                    std::uint64_t sample) noexcept;

}  // namespace styleclip
