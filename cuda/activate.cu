// y = clamp(leaky_relu(y + noise + bias, 0.2), ±limit), in place: one read and one write of y, which is all that its memory
// bandwidth allows. A block takes a run of pixels of one picture; a thread keeps to one group of channels and so reads its
// bias once.
#include "activate.h"

#include "elements.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRounds = 8;  // pixels that a thread takes

template <typename T, int N>
__global__ void __launch_bounds__(kThreads) activate_kernel(const ActivateParams params, std::int64_t runs) {
  const std::int64_t groups = params.channels / N;
  const Share share = share_pixels(groups);
  const std::int64_t picture = blockIdx.x / runs;
  const std::int64_t first = (blockIdx.x - picture * runs) * share.pixels * kRounds;
  const std::int64_t last =
      first + share.pixels * kRounds < params.pixels ? first + share.pixels * kRounds : params.pixels;
  if (share.idle()) return;
  T* y = static_cast<T*>(params.y) + picture * params.pixels * params.channels;
  for (std::int64_t group = share.group; group < groups; group += share.groups_at_once) {
    float bias[N];
#pragma unroll
    for (int i = 0; i < N; ++i) bias[i] = params.bias[group * N + i];
#pragma unroll 4
    for (std::int64_t pixel = first + share.pixel; pixel < last; pixel += share.pixels) {
      T* at = y + pixel * params.channels + group * N;
      const float noise = params.noise == nullptr ? 0.0f : params.noise[pixel];
      float x[N];
      load(at, x);
#pragma unroll
      for (int i = 0; i < N; ++i) x[i] = activated(x[i] + (noise + bias[i]), params.limit);
      store(x, at);
    }
  }
}

template <typename T, int N>
cudaError_t launch(const ActivateParams& params, cudaStream_t stream) {
  const std::int64_t runs = quotient_up(params.pixels, pixels_at_once(params.channels / N, kThreads) * kRounds);
  if (runs > kMaxBlocks / params.pictures) return cudaErrorInvalidValue;
  STYLECLIP_LAUNCH((activate_kernel<T, N>), static_cast<unsigned>(params.pictures * runs), kThreads, stream, params,
                   runs);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_activate(const ActivateParams& params, cudaStream_t stream) {
  if (!countable({params.pictures, params.pixels, params.channels})) return cudaErrorInvalidValue;
  if (params.pictures == 0 || params.pixels == 0 || params.channels == 0) return cudaSuccess;
  return with_groups(params.element, params.channels, {params.y},
                     [&]<typename T, int N>() { return launch<T, N>(params, stream); });
}

}  // namespace styleclip::cuda
