// SHA-256 (FIPS 180-4): the identity of a model file, by which statistics, relevance and latents know their generator.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace styleclip {

class Sha256 {
 public:
  void update(const void* data, std::size_t bytes);
  /// Sixty-four lower-case hexadecimal digits. Call once.
  std::string hex();

 private:
  void block(const std::uint8_t* data);

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, 64> pending_{};
  std::uint64_t bytes_ = 0;
};

std::string sha256_hex(std::string_view bytes);
/// Of a whole file, read in pieces. Throws FileNotFound when it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace styleclip
