// An up layer's FIR filter, noise, bias, leaky ReLU and clamp in one pass: t is read once from memory, y written once
// (filter_rows.h says how).
#include "filter_activate.h"

#include "filter_rows.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 2)  // two blocks a processor: 128 registers
    filter_activate_kernel(const FilterActivateParams params, std::int64_t tiles_across, std::int64_t tiles_down) {
  const std::int64_t channels = params.channels;
  const std::int64_t groups = channels / N;
  const int side = static_cast<int>(params.side);
  const int source = side + 1;
  const Share share = share_pixels(groups);
  const Tile tile = tile_of(share, tiles_across, tiles_down, params.side);
  const int column = tile.column;
  if (share.idle() || column >= side) return;
  for (std::int64_t group = share.group; group < groups; group += share.groups_at_once) {
    const T* t = static_cast<const T*>(params.t) + (tile.picture * source * source + column) * channels + group * N;
    T* y = static_cast<T*>(params.y) + tile.picture * side * side * channels + group * N;
    float bias[N];
#pragma unroll
    for (int i = 0; i < N; ++i) bias[i] = params.bias[group * N + i];
    filter_down<T, N>(t, tile.first, tile.last, column, side, side, channels, params.filter,
                      [&](int row, float(&x)[N]) {
                        const std::int64_t pixel = static_cast<std::int64_t>(row) * side + column;
                        const float noise = params.noise == nullptr ? 0.0f : params.noise[pixel];
#pragma unroll
                        for (int i = 0; i < N; ++i) x[i] = activated(x[i] + (noise + bias[i]), params.limit);
                        store(x, y + pixel * channels);
                      });
  }
}

template <typename T, int N>
cudaError_t launch(const FilterActivateParams& params, cudaStream_t stream) {
  const std::int64_t tiles_across = quotient_up(params.side, pixels_at_once(params.channels / N, kThreads));
  const std::int64_t tiles_down = quotient_up(params.side, kFilterRows);
  if (tiles_across * tiles_down > kMaxBlocks / params.pictures) return cudaErrorInvalidValue;
  STYLECLIP_LAUNCH((filter_activate_kernel<T, N>), static_cast<unsigned>(params.pictures * tiles_across * tiles_down),
                   kThreads, stream, params, tiles_across, tiles_down);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_filter_activate(const FilterActivateParams& params, cudaStream_t stream) {
  if (params.side > (1 << 30)) return cudaErrorInvalidValue;
  if (!countable({params.pictures, params.side, params.side, params.channels})) return cudaErrorInvalidValue;
  if (params.pictures == 0 || params.channels == 0 || params.side == 0) return cudaSuccess;
  return with_groups(params.element, params.channels, {params.t, params.y},
                     [&]<typename T, int N>() { return launch<T, N>(params, stream); });
}

}  // namespace styleclip::cuda
