// Finds the band of each row of a matrix and stores it tap by tap, so that neighbouring threads of what resamples read
// neighbouring weights.
#include "bands.h"

#include "elements.h"
#include "warps.h"

namespace styleclip::cuda {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 30;

__global__ void __launch_bounds__(kWarp) find_bands_kernel(const BandedMatrix matrix) {
  const std::int64_t row = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x);
  const int from = static_cast<int>(matrix.from);
  const float* data = matrix.data + row * matrix.row_stride;
  int first = from;
  int last = -1;
  for (int i = lane; i < from; i += kWarp) {
    if (data[i * matrix.column_stride] == 0.0f) continue;  // NaN is not zero
    if (first == from) first = i;
    last = i;
  }
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const int other_first = __shfl_xor_sync(kAllLanes, first, offset);
    const int other_last = __shfl_xor_sync(kAllLanes, last, offset);
    if (other_first < first) first = other_first;
    if (other_last > last) last = other_last;
  }
  const int count = last < 0 ? 0 : last - first + 1;
  if (lane == 0) {
    matrix.bands[row] = first;
    matrix.bands[matrix.to + row] = count;
  }
  for (int tap = lane; tap < count; tap += kWarp) {
    matrix.weights[tap * matrix.to + row] = data[(first + tap) * matrix.column_stride];
  }
}

}  // namespace

cudaError_t launch_find_bands(const BandedMatrix& matrix, cudaStream_t stream) {
  if (matrix.to > kMost || matrix.from > kMost || !countable({matrix.to, matrix.from})) return cudaErrorInvalidValue;
  if (matrix.to == 0) return cudaSuccess;
  STYLECLIP_LAUNCH(find_bands_kernel, static_cast<unsigned>(matrix.to), kWarp, stream, matrix);
  return cudaGetLastError();
}

}  // namespace styleclip::cuda
