// The separable resample, by bands. The band of each row of both matrices is found first (bands.cu). Then across: lines in
// float32, a thread a number, whose neighbours' bands overlap its own, so that the first cache serves most of its reads;
// then down, where a warp's reads lie side by side. Each number is summed by one thread in order: the same bits every time.
#include "resample.h"

#include "elements.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMost = 1 << 30;

/// One number of a line; `at` counts through [planes, vertical.from, horizontal.to].
template <typename T>
__global__ void __launch_bounds__(kThreads) resample_across_kernel(const ResampleParams params, std::int64_t count) {
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= count) return;
  const BandedMatrix& matrix = params.horizontal;
  const std::int64_t row = at / matrix.to, column = at - row * matrix.to;
  const int taps = matrix.bands[matrix.to + column];
  const T* from = static_cast<const T*>(params.images) + row * matrix.from + matrix.bands[column];
  const float* weights = matrix.weights + column;
  float sum = 0.0f;
#pragma unroll 4
  for (int tap = 0; tap < taps; ++tap) sum += weights[tap * matrix.to] * to_float(from[tap]);
  params.lines[at] = sum;
}

/// One number of the result; `at` counts through [planes, vertical.to, horizontal.to].
template <typename T>
__global__ void __launch_bounds__(kThreads) resample_down_kernel(const ResampleParams params, std::int64_t count) {
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= count) return;
  const BandedMatrix& matrix = params.vertical;
  const std::int64_t width = params.horizontal.to;
  const std::int64_t line = at / width, column = at - line * width;
  const std::int64_t plane = line / matrix.to, row = line - plane * matrix.to;
  const int taps = matrix.bands[matrix.to + row];
  const float* from = params.lines + (plane * matrix.from + matrix.bands[row]) * width + column;
  const float* weights = matrix.weights + row;
  float sum = 0.0f;
#pragma unroll 4
  for (int tap = 0; tap < taps; ++tap) sum += weights[tap * matrix.to] * from[tap * width];
  static_cast<T*>(params.result)[at] = from_float<T>(sum);
}

template <typename T>
cudaError_t launch(const ResampleParams& params, cudaStream_t stream) {
  const std::int64_t width = params.horizontal.to;
  if (!fits_grid(params.planes, params.vertical.from, width, kThreads) ||
      !fits_grid(params.planes, params.vertical.to, width, kThreads)) {
    return cudaErrorInvalidValue;
  }
  const std::int64_t across = params.planes * params.vertical.from * width;
  const std::int64_t down = params.planes * params.vertical.to * width;
  for (const BandedMatrix* matrix : {&params.horizontal, &params.vertical}) {
    const cudaError_t error = launch_find_bands(*matrix, stream);
    if (error != cudaSuccess) return error;
  }
  if (across > 0) {
    STYLECLIP_LAUNCH((resample_across_kernel<T>), static_cast<unsigned>(quotient_up(across, kThreads)), kThreads,
                     stream, params, across);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  STYLECLIP_LAUNCH((resample_down_kernel<T>), static_cast<unsigned>(quotient_up(down, kThreads)), kThreads, stream,
                   params, down);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_resample(const ResampleParams& params, cudaStream_t stream) {
  const BandedMatrix& v = params.vertical;
  const BandedMatrix& h = params.horizontal;
  for (const std::int64_t size : {v.to, v.from, h.to, h.from}) {
    if (size < 0 || size > kMost) return cudaErrorInvalidValue;
  }
  if (params.planes > kMost || !countable({params.planes, v.from, h.from}) || !countable({v.to, v.from}) ||
      !countable({h.to, h.from})) {
    return cudaErrorInvalidValue;
  }
  if (params.planes == 0 || v.to == 0 || h.to == 0) return cudaSuccess;
  return with_element(params.element, [&]<typename T>() { return launch<T>(params, stream); });
}

}  // namespace styleclip::cuda
