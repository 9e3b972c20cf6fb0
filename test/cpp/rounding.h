// How far number types round.
#pragma once

#include <c10/core/ScalarType.h>

namespace rounding {

/// Half the distance of 1 from the number after it: fractions of float16 have 10 bits, of bfloat16 7, and one before the point.
inline double roundoff(at::ScalarType type) {
  switch (type) {
    case at::kDouble: return 0x1p-53;
    case at::kHalf: return 0x1p-11;
    case at::kBFloat16: return 0x1p-8;
    default: return 0x1p-24;
  }
}

}  // namespace rounding
