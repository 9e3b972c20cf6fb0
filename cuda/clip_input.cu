// ((canvas + 1) / 2 - mean) / deviation, written as the picture or as its patches. A block takes some rows of one color of
// one picture, and its threads neighbouring columns: what they read is contiguous, what they write is so within a patch's
// row (16 or 32 numbers). A thread's rows and columns follow one another in equal steps, so that it divides by the patch
// before its loops only.
#include "clip_input.h"

#include "elements.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRounds = 8;                             // rows that a thread takes
constexpr std::int64_t kMost = std::int64_t{1} << 30;  // of size: rows and columns are int

/// A row or column that goes on in equal steps, by the patch that it is in and its place there.
class Walk {
 public:
  __device__ Walk(int first, int step, int patch)
      : patch_(patch),
        step_patches_(step / patch),
        step_place_(step - step_patches_ * patch),
        at_patch_(first / patch),
        place_(first - at_patch_ * patch) {}
  __device__ int patch() const { return at_patch_; }
  __device__ int place() const { return place_; }
  __device__ void next() {
    at_patch_ += step_patches_;
    place_ += step_place_;
    if (place_ < patch_) return;
    place_ -= patch_;
    ++at_patch_;
  }

 private:
  int patch_, step_patches_, step_place_, at_patch_, place_;
};

template <typename T>
__global__ void __launch_bounds__(kThreads) clip_input_kernel(const ClipInputParams params, unsigned strips) {
  const int size = static_cast<int>(params.size), patch = static_cast<int>(params.patch);
  const Share share = share_pixels(size);  // its groups are columns, its pixels rows
  if (share.idle()) return;
  const unsigned plane = blockIdx.x / strips;  // picture * 3 + color
  const int first = static_cast<int>(blockIdx.x - plane * strips) * share.pixels * kRounds + share.pixel;
  const unsigned picture = plane / 3, color = plane - picture * 3;
  const float mean = params.mean[color], deviation = params.deviation[color];
  const std::int64_t pixels = params.size * params.size, area = params.patch * params.patch;
  const float* from = params.canvas + plane * pixels;
  T* to = static_cast<T*>(params.out) + picture * 3 * pixels + color * area;
  Walk across(share.group, share.groups_at_once, patch);
  for (int column = share.group; column < size; column += share.groups_at_once, across.next()) {
    T* to_column = to + 3 * area * across.patch() + across.place();
    Walk down(first, share.pixels, patch);
#pragma unroll 4
    for (int round = 0; round < kRounds; ++round, down.next()) {
      const int row = first + round * share.pixels;
      if (row >= size) break;
      const float x = ((from[row * params.size + column] + 1.0f) * 0.5f - mean) / deviation;
      to_column[(3 * params.size * down.patch() + down.place()) * params.patch] = from_float<T>(x);
    }
  }
}

template <typename T>
cudaError_t launch(const ClipInputParams& params, cudaStream_t stream) {
  const std::int64_t rows = pixels_at_once(params.size, kThreads) * kRounds;
  const std::int64_t strips = quotient_up(params.size, rows);
  if (strips > kMaxBlocks / 3 / params.pictures) return cudaErrorInvalidValue;
  STYLECLIP_LAUNCH(clip_input_kernel<T>, static_cast<unsigned>(params.pictures * 3 * strips), kThreads, stream, params,
                   static_cast<unsigned>(strips));
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_clip_input(const ClipInputParams& params, cudaStream_t stream) {
  if (params.size > kMost || !countable({params.pictures, 3, params.size, params.size})) return cudaErrorInvalidValue;
  if (params.pictures == 0 || params.size == 0) return cudaSuccess;
  if (params.patch < 1 || params.size % params.patch != 0) return cudaErrorInvalidValue;
  return with_element(params.element, [&]<typename T>() { return launch<T>(params, stream); });
}

}  // namespace styleclip::cuda
