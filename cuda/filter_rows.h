// An up layer's FIR filter over t [height + 1, width + 1] of one picture, for the kernels of filter_activate and
// filter_styled_activate: x[p] = Σ_ij filter[i] filter[j] t[p + (i, j) - 1], t being zero outside.
//
// A thread keeps to one column and one group of channels and walks down. Each row of t costs it four loads, of which three
// are its neighbours' too and come from the first cache (a block's columns are neighbours, and its threads keep step); it
// sums them across, keeps the sums of four rows in registers and sums those down. So no barrier and no shared memory is
// needed, and the filter stays separable: 8 multiplications a number, not 16. What is read twice is the edge: 3 columns of
// a block's, 3 rows of every kFilterRows.
#pragma once

#include "elements.h"

namespace styleclip::cuda {

inline constexpr int kFilterRows = 32;  // that a thread walks down

/// A block's place: tiles of columns and of kFilterRows rows of each picture.
struct Tile {
  std::int64_t picture, part;
  int first, last, column;
};

__device__ __forceinline__ Tile tile_of(const Share& share, std::int64_t tiles_across, std::int64_t tiles_down,
                                        std::int64_t height) {
  const std::int64_t across = blockIdx.x % tiles_across;
  const std::int64_t down = blockIdx.x / tiles_across % tiles_down;
  const int first = static_cast<int>(down) * kFilterRows;
  const int end = static_cast<int>(height);
  return {blockIdx.x / tiles_across / tiles_down, blockIdx.x, first,
          first + kFilterRows < end ? first + kFilterRows : end, static_cast<int>(across) * share.pixels + share.pixel};
}

/// The sum across of one row of t, at a column of x. `t`: that column of row 0.
template <typename T, int N>
__device__ __forceinline__ void filter_row(const T* __restrict__ t, int row, int column, int height, int width,
                                           std::int64_t channels, const float (&filter)[4], float (&sum)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) sum[i] = 0;
  if (row < 0 || row > height) return;
  t += row * ((width + 1) * channels);
#pragma unroll
  for (int tap = 0; tap < 4; ++tap) {
    const int at = column + tap - 1;
    if (at < 0 || at > width) continue;
    float x[N];
    load(t + (tap - 1) * channels, x);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += filter[tap] * x[i];
  }
}

/// finish(row, x) for every row from first up to last, x [N] being a group's numbers of it, which finish may change.
template <typename T, int N, typename Finish>
__device__ __forceinline__ void filter_down(const T* __restrict__ t, int first, int last, int column, int height,
                                            int width, std::int64_t channels, const float* filter_of,
                                            const Finish& finish) {
  float filter[4];
#pragma unroll
  for (int tap = 0; tap < 4; ++tap) filter[tap] = filter_of[tap];
  float sums[4][N];
#pragma unroll
  for (int i = 0; i < 3; ++i) filter_row<T, N>(t, first + i - 1, column, height, width, channels, filter, sums[i]);
  // The four sums change places by name, not by moving: four rows a round. Not unrolled further: some targets would spill.
#pragma unroll 1
  for (int row = first; row < last; row += 4) {
#pragma unroll
    for (int phase = 0; phase < 4; ++phase) {
      if (row + phase >= last) break;
      filter_row<T, N>(t, row + phase + 2, column, height, width, channels, filter, sums[(phase + 3) % 4]);
      float x[N];
#pragma unroll
      for (int i = 0; i < N; ++i) {
        x[i] = filter[0] * sums[phase][i] + filter[1] * sums[(phase + 1) % 4][i] +
               filter[2] * sums[(phase + 2) % 4][i] + filter[3] * sums[(phase + 3) % 4][i];
      }
      finish(row + phase, x);
    }
  }
}

}  // namespace styleclip::cuda
