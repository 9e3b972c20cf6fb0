// What the CPU implementations share: loops compiled for several instruction sets, the end of a layer, and rows of float16
// and bfloat16 widened to float32 and narrowed again.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

// One body, three machines: AVX-512, AVX2 with FMA, and plain x86-64 (SSE2). Elsewhere the compiler's own target.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STYLECLIP_CLONED __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define STYLECLIP_CLONED
#endif

namespace styleclip::rows {

/// clamp(leaky_relu(x, 0.2), ±limit). NaN stays NaN: std::max and std::min return their first argument then.
inline float activated(float x, float limit) {
  const float y = std::max(x, 0.2F * x);
  return std::min(std::max(y, -limit), limit);
}

template <typename T>
void widen(const T* __restrict from, std::int64_t count, float* __restrict to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

template <typename T>
void narrow(const float* __restrict from, std::int64_t count, T* __restrict to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(from[i]);
}

/// Calls body.template operator()<T>() with the C++ type of y.
template <typename Body>
void for_type(c10::ScalarType type, const Body& body) {
  switch (type) {
    case c10::ScalarType::Half: body.template operator()<c10::Half>(); break;
    case c10::ScalarType::BFloat16: body.template operator()<c10::BFloat16>(); break;
    default: body.template operator()<float>();  // the checks let nothing else through
  }
}

/// Rows of so many numbers that a thread takes at least: below some 20,000 numbers, starting a thread costs more.
inline std::int64_t grain(std::int64_t numbers_a_row) {
  constexpr std::int64_t kNumbers = 20000;
  return std::max<std::int64_t>(1, kNumbers / std::max<std::int64_t>(1, numbers_a_row));
}

}  // namespace styleclip::rows
