// The functions of cuda/tensor_cores.h on the CPU, from the PTX ISA's text ("Matrix Fragments for mma.m16n8k16 with
// floating point type", "ldmatrix", "cp.async"), independently of how a kernel uses them. A product is a meeting of the
// warp at which the lanes hand in their fragments; a copy happens as late as it may, when its thread waits for it.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <source_location>

#include "device.h"

namespace styleclip::cuda {

inline int fresh(int value) { return value; }

inline void begin_copy(Unit* to, const void* from, bool inside) {
  cuda_host::self().copies.push_back({to, inside ? from : nullptr, sizeof(Unit)});
}

inline void end_copies() {
  for (const cuda_host::Copy& copy : cuda_host::self().copies) {
    if (copy.from != nullptr) {
      std::memcpy(copy.to, copy.from, copy.bytes);
    } else {
      std::memset(copy.to, 0, copy.bytes);
    }
  }
  cuda_host::self().copies.clear();
}

/// Row r of matrix m is at the address of lane 8 m + r. Lane l receives of row l / 4 elements 2 (l % 4) and the next.
inline void load_matrices(const Unit* row, unsigned& m0, unsigned& m1, unsigned& m2, unsigned& m3,
                          std::source_location at = std::source_location::current()) {
  const std::uint64_t address[] = {reinterpret_cast<std::uintptr_t>(row)};
  if (address[0] % sizeof(Unit) != 0) throw cuda_host::Error("ldmatrix: a row does not lie at a multiple of 16 bytes");
  const cuda_host::WarpValues rows = cuda_host::self().meet_warp("ldmatrix", cuda_host::kFullMask, address, at);
  const int lane = cuda_host::self().lane();
  unsigned* const to[] = {&m0, &m1, &m2, &m3};
  for (int matrix = 0; matrix < 4; ++matrix) {
    *to[matrix] = reinterpret_cast<const Unit*>(rows[8 * matrix + lane / 4])->pair[lane % 4];
  }
}

template <typename T>
float number(std::uint64_t bits, int index) {
  const auto narrow = static_cast<std::uint16_t>(bits >> (16 * index));
  if constexpr (std::same_as<T, __half>) return __half2float({narrow});
  if constexpr (std::same_as<T, __nv_bfloat16>) return __bfloat162float({narrow});
}

/// The text has, with groupID = lane / 4 and threadID = lane % 4, for a lane's elements
///   a0 … a7: row groupID, + 8 for a2, a3, a6, a7; column threadID 2 + i % 2, + 8 from a4 on
///   b0 … b3: row threadID 2 + i % 2, + 8 from b2 on; column groupID
///   c0 … c3: row groupID, + 8 from c2 on; column threadID 2 + i % 2
/// and here one asks the other way: which lane has an element, and as which.
template <typename T, int N>
void multiply_add(const unsigned (&a)[4], const unsigned (&b)[N][2], float (&c)[N][4],
                  std::source_location at = std::source_location::current()) {
  static_assert(N + 2 <= static_cast<int>(cuda_host::kMaxWords));
  const auto joined = [](unsigned low, unsigned high) { return std::uint64_t{high} << 32 | low; };
  std::array<std::uint64_t, N + 2> words{joined(a[0], a[1]), joined(a[2], a[3])};
  for (int n = 0; n < N; ++n) words[static_cast<std::size_t>(2 + n)] = joined(b[n][0], b[n][1]);
  const cuda_host::WarpValues lanes = cuda_host::self().meet_warp("mma", cuda_host::kFullMask, words, at);

  const auto element_of_a = [&](int row, int column) {  // [16, 16]
    const int index = column % 2 + (row >= 8 ? 2 : 0) + (column >= 8 ? 4 : 0);
    return number<T>(lanes.word(row % 8 * 4 + column % 8 / 2, static_cast<std::size_t>(index / 4)), index % 4);
  };
  const auto element_of_b = [&](int n, int row, int column) {  // [16, 8]
    const int index = row % 2 + (row >= 8 ? 2 : 0);
    return number<T>(lanes.word(column * 4 + row % 8 / 2, static_cast<std::size_t>(2 + n)), index);
  };
  const int group = cuda_host::self().lane() / 4, member = cuda_host::self().lane() % 4;
  for (int n = 0; n < N; ++n) {
    for (int i = 0; i < 4; ++i) {
      const int row = group + (i >= 2 ? 8 : 0), column = member * 2 + i % 2;
      for (int k = 0; k < 16; ++k) c[n][i] += element_of_a(row, k) * element_of_b(n, k, column);
    }
  }
}

}  // namespace styleclip::cuda
