// ((canvas + 1) / 2 - mean) / deviation, written as the picture or as its patches. A block takes some rows of one color of
// one picture, and its threads neighbouring columns: what they read is contiguous, what they write is so within a patch's
// row (16 or 32 numbers).
#include "clip_input.h"

#include "elements.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kRows = 8;

template <typename T>
__global__ void __launch_bounds__(kThreads) clip_input_kernel(const ClipInputParams params, std::int64_t strips) {
  const std::int64_t size = params.size;
  const std::int64_t patch = params.patch;
  const std::int64_t across = size / patch;
  const std::int64_t plane = blockIdx.x / strips;  // picture * 3 + color
  const std::int64_t first = (blockIdx.x - plane * strips) * kRows;
  const std::int64_t rows = first + kRows < size ? kRows : size - first;
  const std::int64_t picture = plane / 3;
  const std::int64_t color = plane - picture * 3;
  const float mean = params.mean[color];
  const float deviation = params.deviation[color];
  const float* from = params.canvas + (plane * size + first) * size;
  T* to = static_cast<T*>(params.out);
  for (std::int64_t i = threadIdx.x; i < rows * size; i += kThreads) {
    const std::int64_t row = first + i / size;
    const std::int64_t column = i % size;
    const std::int64_t block = (picture * across + row / patch) * across + column / patch;
    const float x = ((from[i] + 1.0f) * 0.5f - mean) / deviation;
    to[((block * 3 + color) * patch + row % patch) * patch + column % patch] = from_float<T>(x);
  }
}

template <typename T>
cudaError_t launch(const ClipInputParams& params, cudaStream_t stream) {
  const std::int64_t strips = quotient_up(params.size, kRows);
  if (strips > kMaxBlocks / 3 / params.pictures) return cudaErrorInvalidValue;
  STYLECLIP_LAUNCH(clip_input_kernel<T>, static_cast<unsigned>(params.pictures * 3 * strips), kThreads, stream, params,
                   strips);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_clip_input(const ClipInputParams& params, cudaStream_t stream) {
  if (params.pictures < 0 || params.size < 0) return cudaErrorInvalidValue;
  if (params.pictures == 0 || params.size == 0) return cudaSuccess;
  if (params.patch < 1 || params.size % params.patch != 0) return cudaErrorInvalidValue;
  switch (params.element) {
    case Element::kFloat32: return launch<float>(params, stream);
    case Element::kFloat16: return launch<__half>(params, stream);
    case Element::kBFloat16: return launch<__nv_bfloat16>(params, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace styleclip::cuda
