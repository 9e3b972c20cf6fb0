// What the CPU implementations share: loops compiled for several instruction sets, the end of a layer, and rows of float16
// and bfloat16 widened to float32 and narrowed again.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "ops/numbers_cpu.h"

#define STYLECLIP_CLONED STYLECLIP_VECTORISED

namespace styleclip::rows {

using styleclip::activated;

/// to [count] = from [count], to float32 and from it to the nearest (rows_cpu.cpp). One overload a number type.
void widen(const c10::Half* from, std::int64_t count, float* to);
void widen(const c10::BFloat16* from, std::int64_t count, float* to);
void narrow(const float* from, std::int64_t count, c10::Half* to);
void narrow(const float* from, std::int64_t count, c10::BFloat16* to);

/// Calls body.template operator()<T>() with the C++ type of y.
template <typename Body>
void for_type(c10::ScalarType type, const Body& body) {
  switch (type) {
    case c10::ScalarType::Half: body.template operator()<c10::Half>(); break;
    case c10::ScalarType::BFloat16: body.template operator()<c10::BFloat16>(); break;
    default: body.template operator()<float>();  // the checks let nothing else through
  }
}

/// The same, float64 too.
template <typename Body>
void for_any_type(c10::ScalarType type, const Body& body) {
  if (type == c10::ScalarType::Double) {
    body.template operator()<double>();
  } else {
    for_type(type, body);
  }
}

/// What T is computed in.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// `count` numbers of `from` in what they are computed in: themselves, or `scratch`.
template <typename T>
const Wide<T>* widened(const T* from, std::int64_t count, Wide<T>* scratch) {
  if constexpr (std::is_same_v<T, Wide<T>>) {
    return from;
  } else {
    widen(from, count, scratch);
    return scratch;
  }
}

/// Rows of so many numbers that a thread takes at least: below some 20,000 numbers, starting a thread costs more.
inline std::int64_t grain(std::int64_t numbers_a_row) {
  constexpr std::int64_t kNumbers = 20000;
  return std::max<std::int64_t>(1, kNumbers / std::max<std::int64_t>(1, numbers_a_row));
}

}  // namespace styleclip::rows
