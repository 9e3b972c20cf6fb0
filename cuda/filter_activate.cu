// An up layer's FIR filter, noise, bias, leaky ReLU and clamp in one pass: t is read once from memory, y written once.
//
// A thread keeps to one column and one group of channels and walks down. Each row of t costs it four loads, of which three
// are its neighbours' too and come from the first cache (a block's columns are neighbours, and its threads keep step); it
// sums them across, keeps the sums of four rows in registers and sums those down. So no barrier and no shared memory is
// needed, and the filter stays separable: 8 multiplications a number, not 16. What is read twice is the edge: 3 columns of
// a block's, 3 rows of every kRows.
#include "filter_activate.h"

#include "elements.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 32;  // of y, that a thread walks down

/// The sum across of one row of t, at a column of y. `t`: that column of row 0.
template <typename T, int N>
__device__ __forceinline__ void filter_row(const T* __restrict__ t, int row, int column, int source,
                                           std::int64_t channels, const float (&filter)[4], float (&sum)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) sum[i] = 0;
  if (row < 0 || row >= source) return;
  t += row * (source * channels);
#pragma unroll
  for (int tap = 0; tap < 4; ++tap) {
    const int at = column + tap - 1;
    if (at < 0 || at >= source) continue;
    float x[N];
    load(t + (tap - 1) * channels, x);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += filter[tap] * x[i];
  }
}

template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 2)  // two blocks a processor: 128 registers
    filter_activate_kernel(const FilterActivateParams params, std::int64_t tiles_across, std::int64_t tiles_down) {
  const std::int64_t channels = params.channels;
  const std::int64_t groups = channels / N;
  const int side = static_cast<int>(params.side);
  const int source = side + 1;
  const Share share = share_pixels(groups);
  const std::int64_t across = blockIdx.x % tiles_across;
  const std::int64_t down = blockIdx.x / tiles_across % tiles_down;
  const std::int64_t picture = blockIdx.x / tiles_across / tiles_down;
  const int column = static_cast<int>(across) * share.pixels + share.pixel;
  if (share.idle() || column >= side) return;
  const int first = static_cast<int>(down) * kRows;
  const int last = first + kRows < side ? first + kRows : side;
  float filter[4];
#pragma unroll
  for (int tap = 0; tap < 4; ++tap) filter[tap] = params.filter[tap];
  for (std::int64_t group = share.group; group < groups; group += share.groups_at_once) {
    const T* t = static_cast<const T*>(params.t) + (picture * source * source + column) * channels + group * N;
    T* y = static_cast<T*>(params.y) + picture * side * side * channels + group * N;
    float bias[N];
#pragma unroll
    for (int i = 0; i < N; ++i) bias[i] = params.bias[group * N + i];
    float sums[4][N];
#pragma unroll
    for (int i = 0; i < 3; ++i) filter_row<T, N>(t, first + i - 1, column, source, channels, filter, sums[i]);
    // The four sums change places by name, not by moving: four rows a round. Not unrolled further: some targets would spill.
#pragma unroll 1
    for (int row = first; row < last; row += 4) {
#pragma unroll
      for (int phase = 0; phase < 4; ++phase) {
        if (row + phase >= last) break;
        filter_row<T, N>(t, row + phase + 2, column, source, channels, filter, sums[(phase + 3) % 4]);
        const std::int64_t pixel = static_cast<std::int64_t>(row + phase) * side + column;
        const float noise = params.noise == nullptr ? 0.0f : params.noise[pixel];
        float x[N];
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const float sum = filter[0] * sums[phase][i] + filter[1] * sums[(phase + 1) % 4][i] +
                            filter[2] * sums[(phase + 2) % 4][i] + filter[3] * sums[(phase + 3) % 4][i];
          x[i] = activated(sum + (noise + bias[i]), params.limit);
        }
        store(x, y + pixel * channels);
      }
    }
  }
}

template <typename T, int N>
cudaError_t launch(const FilterActivateParams& params, cudaStream_t stream) {
  const std::int64_t groups = params.channels / N;
  const std::int64_t columns_at_once = groups < kThreads ? kThreads / groups : 1;
  const std::int64_t tiles_across = quotient_up(params.side, columns_at_once);
  const std::int64_t tiles_down = quotient_up(params.side, kRows);
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
