// Resident memory of this process, as Linux counts it.
#pragma once

#include <cstdint>

namespace styleclip::bench {

/// Bytes resident now; the peak starts anew here.
std::int64_t start_peak();
/// The most that was resident since then.
std::int64_t peak_bytes();

}  // namespace styleclip::bench
