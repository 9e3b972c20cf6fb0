// The bands of a resampling matrix: of each row the entries from its first that is not zero to its last. Known here: pointers,
// sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "device.h"

namespace styleclip::cuda {

/// A matrix [to, from] on the device, and work memory for its bands.
struct BandedMatrix {
  const float* data = nullptr;
  std::int64_t to = 0, from = 0;                   // 0..2^30
  std::int64_t row_stride = 0, column_stride = 0;  // a transposed matrix is as good
  float* weights = nullptr;                        // [from, to]: tap by tap, of each row from its first on
  std::int32_t* bands = nullptr;                   // [2, to]: the first entry that is not zero; how many up to the last
};

/// Queues the search on `stream` of the current device: a warp a row, some microseconds. cudaErrorInvalidValue for sizes out
/// of range; else the launch's own error. Nothing is launched where there are no rows.
cudaError_t launch_find_bands(const BandedMatrix& matrix, cudaStream_t stream);

}  // namespace styleclip::cuda
