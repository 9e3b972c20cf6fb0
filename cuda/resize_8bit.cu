// A thread a number of the result, neighbours along `inner`, then along `out`: on the vertical pass of a picture a warp reads
// and writes side by side, on the horizontal one its neighbours' taps overlap and come from the first cache. Whole numbers
// only: the same bits as on a CPU.
#include "resize_8bit.h"

#include "elements.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBits = 22;  // of the weights' fraction; as in styleclip/ops.h
constexpr std::int64_t kMost = std::int64_t{1} << 30;

__global__ void __launch_bounds__(kThreads) resize_8bit_kernel(const Resize8bitParams params, std::int64_t count) {
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= count) return;
  const std::int64_t line = at / params.inner;  // outer * out + o
  const std::int64_t column = at - line * params.inner;
  const std::int64_t outer = line / params.out;
  const std::int64_t o = line - outer * params.out;
  const std::int64_t start = params.first[o];
  const std::int32_t* weights = params.weights + o * params.taps;
  const std::uint8_t* from = params.pixels + outer * params.length * params.inner + column;
  std::int32_t sum = 1 << (kBits - 1);
#pragma unroll 4
  for (std::int64_t tap = 0; tap < params.taps; ++tap) {
    std::int64_t place = start + tap;
    if (place >= params.length) break;
    if (place < 0) place = 0;
    sum += weights[tap] * static_cast<std::int32_t>(from[place * params.inner]);
  }
  const std::int32_t value = sum >> kBits;
  params.result[at] = static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

}  // namespace

cudaError_t launch_resize_8bit(const Resize8bitParams& params, cudaStream_t stream) {
  for (const std::int64_t size : {params.outer, params.length, params.inner, params.out, params.taps}) {
    if (size < 0 || size > kMost) return cudaErrorInvalidValue;
  }
  if (!countable({params.outer, params.length, params.inner})) return cudaErrorInvalidValue;
  if (params.outer == 0 || params.inner == 0 || params.out == 0) return cudaSuccess;
  if (params.length == 0) return cudaErrorInvalidValue;
  if (!fits_grid(params.outer, params.out, params.inner, kThreads)) return cudaErrorInvalidValue;
  const std::int64_t count = params.outer * params.out * params.inner;
  STYLECLIP_LAUNCH(resize_8bit_kernel, static_cast<unsigned>(quotient_up(count, kThreads)), kThreads, stream, params,
                   count);
  return cudaGetLastError();
}

}  // namespace styleclip::cuda
