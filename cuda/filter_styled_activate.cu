// An up layer's FIR filter, gain, noise, bias, leaky ReLU and clamp in one pass, and backwards the same with the filter
// turned round. A thread keeps to one column and one group of channels and walks down (filter_rows.h says how). Backwards it
// takes each neighbour's gradient through the layer's end first; of its own column it adds up the gradients to gain and bias
// on the way, and the block's are summed at the end.
#include "filter_styled_activate.h"

#include "filter_rows.h"
#include "styled.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 2)  // two blocks a processor: 128 registers
    filter_styled_activate_kernel(const FilterStyledActivateParams params, std::int64_t tiles_across,
                                  std::int64_t tiles_down) {
  const std::int64_t channels = params.channels;
  const std::int64_t groups = channels / N;
  const int height = static_cast<int>(params.height), width = static_cast<int>(params.width);
  const Share share = share_pixels(groups);
  const Tile tile = tile_of(share, tiles_across, tiles_down, params.height);
  const int column = tile.column;
  if (share.idle() || column >= width) return;
  const std::int64_t pixels = params.height * params.width;
  const float* noises =
      params.noise == nullptr ? nullptr : params.noise + (params.noise_each ? tile.picture * pixels : 0);
  for (std::int64_t group = share.group; group < groups; group += share.groups_at_once) {
    const T* t =
        static_cast<const T*>(params.t) + (tile.picture * (height + 1) * (width + 1) + column) * channels + group * N;
    T* y = static_cast<T*>(params.y) + tile.picture * pixels * channels + group * N;
    float bias[N], gain[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      bias[i] = params.bias[group * N + i];
      gain[i] = params.gain == nullptr ? 1.0f : params.gain[tile.picture * channels + group * N + i];
    }
    const auto finish = [&](int row, float(&x)[N]) {
      const std::int64_t pixel = static_cast<std::int64_t>(row) * width + column;
      const float noise = noises == nullptr ? 0.0f : noises[pixel];
#pragma unroll
      for (int i = 0; i < N; ++i) x[i] = styled(gain[i] * x[i] + (noise + bias[i]), params.limit);
      store(x, y + pixel * channels);
    };
    filter_down<T, N>(t, tile.first, tile.last, column, height, width, channels, params.filter, finish);
  }
}

/// The sum across of one row of the gradient before the filter, at a column of t's gradient, its filter turned round; `own`
/// adds what its own column gives to gain and bias. `at`: where row 0 of the picture begins, of this group of channels.
template <typename T, int N>
__device__ __forceinline__ void unfilter_row(const FilterStyledGradients& params, std::int64_t at, int row, int column,
                                             bool own, const float* noises, const float (&filter)[4],
                                             const float (&bias)[N], float (&sum)[N], float (&to_gain)[N],
                                             float (&to_bias)[N]) {
  const int height = static_cast<int>(params.height), width = static_cast<int>(params.width);
#pragma unroll
  for (int i = 0; i < N; ++i) sum[i] = 0;
  if (row < 0 || row >= height) return;
#pragma unroll
  for (int tap = 0; tap < 4; ++tap) {
    const int from = column + tap - 2;
    if (from < 0 || from >= width) continue;
    const std::int64_t pixel = static_cast<std::int64_t>(row) * width + from;
    float gradient[N], y[N];
    load(static_cast<const T*>(params.end.gradient) + at + pixel * params.end.channels, gradient);
    load(static_cast<const T*>(params.end.y) + at + pixel * params.end.channels, y);
    const float noise = own && tap == 2 && noises != nullptr ? noises[pixel] : 0.0f;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float of_sum = unstyled(gradient[i], y[i], params.end.limit);
      sum[i] += filter[3 - tap] * of_sum;
      if (tap == 2 && own) {
        to_bias[i] += of_sum;
        to_gain[i] += gain_share(of_sum, y[i], noise + bias[i], params.end.limit);
      }
    }
  }
}

template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 2)
    filter_styled_activate_backward_kernel(const FilterStyledGradients params, std::int64_t tiles_across,
                                           std::int64_t tiles_down) {
  STYLECLIP_SHARED(float, memory, [kThreads * N]);
  const StyledGradients& end = params.end;
  const std::int64_t channels = end.channels;
  const std::int64_t groups = channels / N;
  const int width = static_cast<int>(params.width);
  const Share share = share_pixels(groups);
  const Tile tile = tile_of(share, tiles_across, tiles_down, params.height + 1);
  const float* noises = end.noise == nullptr ? nullptr : end.noise + (end.noise_each ? tile.picture * end.pixels : 0);
  float filter[4];
#pragma unroll
  for (int tap = 0; tap < 4; ++tap) filter[tap] = params.filter[tap];
  // Every thread makes every round, because a round holds barriers.
  for (std::int64_t base = 0; base < groups; base += share.groups_at_once) {
    const std::int64_t group = base + share.group;
    const bool active = !share.idle() && group < groups && tile.column <= width;
    float bias[N], gain[N], to_gain[N], to_bias[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      bias[i] = active ? end.bias[group * N + i] : 0.0f;
      gain[i] = active && end.gain != nullptr ? end.gain[tile.picture * channels + group * N + i] : 1.0f;
      to_gain[i] = to_bias[i] = 0.0f;
    }
    if (active) {
      const std::int64_t at = tile.picture * end.pixels * channels + group * N;
      T* to = params.to_t == nullptr
                  ? nullptr
                  : static_cast<T*>(params.to_t) +
                        (tile.picture * (params.height + 1) * (width + 1) + tile.column) * channels + group * N;
      float sums[4][N];
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        unfilter_row<T, N>(params, at, tile.first + i - 2, tile.column, i == 2, noises, filter, bias, sums[i], to_gain,
                           to_bias);
      }
#pragma unroll 1
      for (int row = tile.first; row < tile.last; row += 4) {
#pragma unroll
        for (int phase = 0; phase < 4; ++phase) {
          if (row + phase >= tile.last) break;
          unfilter_row<T, N>(params, at, row + phase + 1, tile.column, row + phase + 1 < tile.last, noises, filter,
                             bias, sums[(phase + 3) % 4], to_gain, to_bias);
          if (to == nullptr) continue;
          float x[N];
#pragma unroll
          for (int i = 0; i < N; ++i) {
            x[i] = gain[i] * (filter[3] * sums[phase][i] + filter[2] * sums[(phase + 1) % 4][i] +
                              filter[1] * sums[(phase + 2) % 4][i] + filter[0] * sums[(phase + 3) % 4][i]);
          }
          store(x, to + static_cast<std::int64_t>(row + phase) * (width + 1) * channels);
        }
      }
    }
    const std::int64_t sums = tile.part * channels + base * N;
    const std::int64_t rest = channels - base * N;
    if (end.to_gain != nullptr) {
      sum_over_pixels<N, kThreads>(to_gain, share, memory, rest, end.gain_parts + sums);
    }
    if (end.to_bias != nullptr) {
      sum_over_pixels<N, kThreads>(to_bias, share, memory, rest, end.bias_parts + sums);
    }
  }
}

template <typename T, int N>
cudaError_t launch(const FilterStyledActivateParams& params, cudaStream_t stream) {
  const std::int64_t tiles_across = quotient_up(params.width, pixels_at_once(params.channels / N, kThreads));
  const std::int64_t tiles_down = quotient_up(params.height, kFilterRows);
  if (tiles_across * tiles_down > kMaxBlocks / params.pictures) return cudaErrorInvalidValue;
  STYLECLIP_LAUNCH((filter_styled_activate_kernel<T, N>),
                   static_cast<unsigned>(params.pictures * tiles_across * tiles_down), kThreads, stream, params,
                   tiles_across, tiles_down);
  return cudaGetLastError();
}

template <typename T, int N>
cudaError_t launch(const FilterStyledGradients& params, cudaStream_t stream) {
  const StyledGradients& end = params.end;
  const std::int64_t tiles_across = quotient_up(params.width + 1, pixels_at_once(end.channels / N, kThreads));
  const std::int64_t tiles_down = quotient_up(params.height + 1, kFilterRows);
  const std::int64_t tiles = tiles_across * tiles_down;
  if (tiles > kMaxBlocks / end.pictures || !styled_sums_fit(end)) return cudaErrorInvalidValue;
  if (params.to_t != nullptr || end.to_gain != nullptr || end.to_bias != nullptr) {
    STYLECLIP_LAUNCH((filter_styled_activate_backward_kernel<T, N>), static_cast<unsigned>(end.pictures * tiles),
                     kThreads, stream, params, tiles_across, tiles_down);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  return launch_styled_sums(end, tiles, stream);
}

bool in_range(std::int64_t pictures, std::int64_t height, std::int64_t width, std::int64_t channels) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  return height <= kMost && width <= kMost && countable({pictures, height, width, channels});
}

}  // namespace

cudaError_t launch_filter_styled_activate(const FilterStyledActivateParams& params, cudaStream_t stream) {
  if (!in_range(params.pictures, params.height, params.width, params.channels)) return cudaErrorInvalidValue;
  if (params.pictures == 0 || params.channels == 0 || params.height == 0 || params.width == 0) return cudaSuccess;
  return with_groups(params.element, params.channels, {params.t, params.y},
                     [&]<typename T, int N>() { return launch<T, N>(params, stream); });
}

std::int64_t filter_styled_activate_parts(std::int64_t height, std::int64_t width, std::int64_t channels) {
  if (channels <= 0) return 0;
  return quotient_up(width + 1, pixels_at_once(channels, kThreads)) * quotient_up(height + 1, kFilterRows);
}

cudaError_t launch_filter_styled_activate_backward(const FilterStyledGradients& params, cudaStream_t stream) {
  const StyledGradients& end = params.end;
  if (!in_range(end.pictures, params.height, params.width, end.channels)) return cudaErrorInvalidValue;
  if (end.pixels != params.height * params.width) return cudaErrorInvalidValue;
  if (end.pictures == 0 || end.channels == 0 || end.pixels == 0) return cudaSuccess;
  // Groups of 8 bytes: of 16, some targets would spill.
  return with_groups<8>(end.element, end.channels, {end.gradient, end.y, params.to_t},
                        [&]<typename T, int N>() { return launch<T, N>(params, stream); });
}

}  // namespace styleclip::cuda
