// Number types inside the CPU operators' loops. Conversions of 16-bit types are written so that the compiler vectorises
// them; a loop's body is a template, inlined into one function a number type, which is compiled for several instruction
// sets and chosen when the library loads.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <bit>
#include <cstdint>

// AVX-512, AVX2 with FMA, and plain x86-64 (SSE2), by what the processor can do: a version for a processor's name
// ("arch=haswell") is taken on processors of that name alone. Elsewhere, and under sanitizers, the compiler's own target.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__clang__) || __GNUC__ >= 12
#define STYLECLIP_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define STYLECLIP_VECTORISED __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#else
#define STYLECLIP_VECTORISED
#endif
#define STYLECLIP_INLINE inline __attribute__((always_inline))

namespace styleclip {

STYLECLIP_INLINE float to_float(float x) { return x; }
STYLECLIP_INLINE float to_float(c10::BFloat16 x) { return std::bit_cast<float>(std::uint32_t{x.x} << 16); }
// Integer and float32 arithmetic without branches, which compilers vectorise; _Float16 they convert one by one.
STYLECLIP_INLINE float to_float(c10::Half x) {
  const std::uint32_t half = x.x, magnitude = half & 0x7fffU;
  // The exponent's bias is 112 less. A subnormal number has no leading one: it gets one, which is then taken off.
  const std::uint32_t subnormal = magnitude < 0x400U ? 1U : 0U;
  const std::uint32_t lead = (0U - subnormal) & std::bit_cast<std::uint32_t>(0x1p-14F);
  const float value = std::bit_cast<float>((magnitude << 13) + ((112U + subnormal) << 23)) - std::bit_cast<float>(lead);
  const std::uint32_t infinite = magnitude >= 0x7c00U ? 0x7f800000U : 0U;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | infinite | (half & 0x8000U) << 16);
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
  // To the nearest, halves to even; NaN stays NaN.
  const std::uint32_t all = std::bit_cast<std::uint32_t>(x), bits = all & 0x7fffffffU;
  // Normal: the lower exponent bias, and rounding as in bfloat16; what is too large carries over into infinity.
  const std::uint32_t normal = (bits - (112U << 23) + 0xfffU + ((bits >> 13) & 1U)) >> 13;
  // Subnormal: added to 1/2, the number's last place is that of the smallest one.
  const float shifted = std::bit_cast<float>(bits) + 0.5F;
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(0.5F);
  std::uint32_t result = bits < 0x38800000U ? subnormal : normal;
  result = bits >= 0x47800000U ? 0x7c00U : result;
  result = bits > 0x7f800000U ? 0x7e00U : result;
  return c10::Half(static_cast<std::uint16_t>(result | (all >> 16 & 0x8000U)), c10::Half::from_bits());
}

/// clamp(leaky_relu(x, 0.2), ±limit).
STYLECLIP_INLINE float activated(float x, float limit) {
  const float y = std::max(x, 0.2F * x);
  return std::min(std::max(y, -limit), limit);
}

}  // namespace styleclip
