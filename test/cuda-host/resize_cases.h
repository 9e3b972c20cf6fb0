// Cases of resize_8bit for every implementation on every device, and what comes out, in a few lines of whole numbers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace styleclip::cases::resize {

struct Case {
  std::int64_t outer, length, inner, out, taps;
};

/// One pixel, no picture, taps beyond the end, both passes of a picture, more numbers than a block has threads.
inline std::vector<Case> all_cases() {
  return {{1, 1, 1, 1, 1},  {0, 5, 3, 4, 3},  {2, 7, 3, 5, 5},     {3, 5, 1, 11, 5},
          {5, 16, 3, 7, 9}, {1, 9, 48, 4, 7}, {2, 33, 65, 16, 11}, {1, 4, 3, 0, 5}};
}

inline std::string name(const Case& one) {
  return "resize_8bit [" + std::to_string(one.outer) + ", " + std::to_string(one.length) + ", " +
         std::to_string(one.inner) + "] to " + std::to_string(one.out) + " by " + std::to_string(one.taps);
}

struct Inputs {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int32_t> first, weights;
};

/// Black, white and grey pixels; weights about 2^22 / taps, some negative, so that sums go beyond both ends of 8 bits; the last
/// windows reach beyond the line.
inline Inputs make_inputs(const Case& which) {
  std::uint32_t state = 12345;
  const auto draw = [&](std::uint32_t most) {  // 0 … most − 1
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % most;
  };
  Inputs in;
  for (std::int64_t i = 0; i < which.outer * which.length * which.inner; ++i) {
    const std::uint32_t kind = draw(4);
    in.pixels.push_back(static_cast<std::uint8_t>(kind == 0 ? 0 : kind == 1 ? 255 : draw(256)));
  }
  for (std::int64_t o = 0; o < which.out; ++o) {
    in.first.push_back(static_cast<std::int32_t>(o * which.length / which.out));
    for (std::int64_t tap = 0; tap < which.taps; ++tap) {
      const auto scale = static_cast<std::int32_t>((1 << 23) / which.taps);
      const auto part = static_cast<std::int32_t>(draw(static_cast<std::uint32_t>(scale)));
      in.weights.push_back(draw(3) == 0 ? -part : part);
    }
  }
  return in;
}

inline std::vector<std::uint8_t> expected(const Case& which, const Inputs& in) {
  std::vector<std::uint8_t> result;
  for (std::int64_t line = 0; line < which.outer; ++line) {
    for (std::int64_t o = 0; o < which.out; ++o) {
      for (std::int64_t i = 0; i < which.inner; ++i) {
        std::int64_t sum = 1 << 21;
        for (std::int64_t tap = 0; tap < which.taps; ++tap) {
          const std::int64_t place = in.first[static_cast<std::size_t>(o)] + tap;
          if (place >= which.length) break;
          const auto at = static_cast<std::size_t>((line * which.length + place) * which.inner + i);
          sum += std::int64_t{in.weights[static_cast<std::size_t>(o * which.taps + tap)]} * in.pixels[at];
        }
        result.push_back(static_cast<std::uint8_t>(std::clamp<std::int64_t>(sum >> 22, 0, 255)));
      }
    }
  }
  return result;
}

}  // namespace styleclip::cases::resize
