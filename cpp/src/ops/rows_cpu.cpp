// See rows_cpu.h: conversions in loops that the compiler vectorises.
#include "ops/rows_cpu.h"

namespace styleclip::rows {
namespace {

template <typename T>
STYLECLIP_INLINE void widen_body(const T* __restrict from, std::int64_t count, float* __restrict to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = to_float(from[i]);
}

template <typename T>
STYLECLIP_INLINE void narrow_body(const float* __restrict from, std::int64_t count, T* __restrict to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = from_float<T>(from[i]);
}

}  // namespace

STYLECLIP_CLONED void widen(const c10::Half* from, std::int64_t count, float* to) { widen_body(from, count, to); }
STYLECLIP_CLONED void widen(const c10::BFloat16* from, std::int64_t count, float* to) { widen_body(from, count, to); }
STYLECLIP_CLONED void narrow(const float* from, std::int64_t count, c10::Half* to) { narrow_body(from, count, to); }
STYLECLIP_CLONED void narrow(const float* from, std::int64_t count, c10::BFloat16* to) { narrow_body(from, count, to); }

}  // namespace styleclip::rows
