// Number types inside the CPU operators' loops. Conversions of 16-bit types are written so that the compiler vectorises
// them; a loop's body is a template, inlined into one function a number type, which is compiled for several instruction
// sets and chosen when the library loads.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <bit>
#include <cstdint>

// AVX-512, AVX2 with FMA, and plain x86-64 (SSE2). Elsewhere, and under sanitizers, the compiler's own target.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STYLECLIP_VECTORISED __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define STYLECLIP_VECTORISED
#endif
#define STYLECLIP_INLINE inline __attribute__((always_inline))

namespace styleclip {

STYLECLIP_INLINE float to_float(float x) { return x; }
STYLECLIP_INLINE float to_float(c10::BFloat16 x) { return std::bit_cast<float>(std::uint32_t{x.x} << 16); }
STYLECLIP_INLINE float to_float(c10::Half x) {
#ifdef __FLT16_MAX__
  return static_cast<float>(std::bit_cast<_Float16>(x.x));
#else
  return static_cast<float>(x);
#endif
}

template <typename T>
T from_float(float x);
template <>
STYLECLIP_INLINE float from_float<float>(float x) {
  return x;
}
template <>
STYLECLIP_INLINE c10::BFloat16 from_float<c10::BFloat16>(float x) {
  // To the nearest, halves to even; NaN stays NaN.
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const std::uint32_t kept = x != x ? 0x7fc0U : rounded;
  return c10::BFloat16(static_cast<std::uint16_t>(kept), c10::BFloat16::from_bits());
}
template <>
STYLECLIP_INLINE c10::Half from_float<c10::Half>(float x) {
#ifdef __FLT16_MAX__
  return c10::Half(std::bit_cast<std::uint16_t>(static_cast<_Float16>(x)), c10::Half::from_bits());
#else
  return static_cast<c10::Half>(x);
#endif
}

/// clamp(leaky_relu(x, 0.2), ±limit).
STYLECLIP_INLINE float activated(float x, float limit) {
  const float y = std::max(x, 0.2F * x);
  return std::min(std::max(y, -limit), limit);
}

}  // namespace styleclip
