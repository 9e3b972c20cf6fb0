// A same-size 3x3 convolution on tensor cores, tile by tile, for convolve_to_canvas.cu: how a block keeps its weights
// and two tiles of x in shared memory, and how its warps multiply them.
//
// It is the product of the matrices [pixels, 9 inputs] and [9 inputs, outputs], of which the first is never laid out:
// sixteen rows of it are sixteen neighbours in a row of x, and another tap is the same tile begun a pixel further. Of x
// kDepth channels are there at a time, with a border of one pixel; the next ones arrive while these are multiplied. The
// weights stay.
//
// In shared memory a pixel, like an output, is two units of 16 bytes, and in every second group of four the two change
// places: so eight neighbours' units, which ldmatrix reads at once, lie in eight different groups of banks.
#pragma once

#include "convolve_to_canvas.h"
#include "elements.h"
#include "tensor_cores.h"
#include "warps.h"

namespace styleclip::cuda {

inline constexpr int kWarps = 8;  // of a block
inline constexpr int kTileThreads = kWarps * kWarp;
inline constexpr int kTileRows = 16;
inline constexpr int kDepth = 16;         // channels of x that are in shared memory at once: k of one product
inline constexpr int kMostChannels = 64;  // inputs and outputs: the weights of more would not fit

/// How a block shares a tile of kTileRows x kColumns pixels: a warp takes kWarpRows rows of 16 with all their outputs,
/// which is 64 sums a lane (32 of 16 outputs, 48 of 48).
template <int kOutputs>
struct Plan {
  static constexpr int kWarpRows = kOutputs <= 32 ? 4 : 2;
  static constexpr int kColumns = kWarps * kWarpRows * 16 / kTileRows;
  static constexpr int kAcross = kColumns / 16;           // warps
  static constexpr int kFragments = kOutputs / 8;         // of the weights, side by side
  static constexpr int kPitch = 2 * (kColumns + 2);       // units of a row with its border
  static constexpr int kTile = (kTileRows + 2) * kPitch;  // units of kDepth channels of a tile
  static constexpr int kWeights = 9 * 2 * kOutputs;       // units of kDepth channels of the weights
};

/// A lane's sums: of a row of 16 pixels and kOutputs, c of tensor_cores.h's fragments side by side.
template <int kOutputs>
using Sums = float[Plan<kOutputs>::kWarpRows][Plan<kOutputs>::kFragments][4];

/// The output that a column of the fragments stands for. Dealt so that a lane's columns, two of each fragment, are
/// neighbours in memory.
template <int kOutputs>
__device__ __forceinline__ int output_of(int column) {
  return column % 8 / 2 * (kOutputs / 4) + column / 8 * 2 + column % 2;
}

/// Where a pixel's (an output's) first or second half of kDepth channels lies in its row of units.
__device__ __forceinline__ int unit_of(int index, int half) { return 2 * index + (half ^ (index / 4 % 2)); }

/// Where a thread works.
struct Place {
  std::int64_t picture;
  int row;  // of the picture: the strip's first
  int thread, warp, lane;
};

/// Asked anew for each part of the work: what follows from it is not kept in the meantime, when the sums need the
/// registers.
__device__ __forceinline__ Place place_here() {
  const int thread = fresh(static_cast<int>(threadIdx.x));
  return {fresh(static_cast<int>(blockIdx.x)), fresh(static_cast<int>(blockIdx.y)) * kTileRows, thread, thread / kWarp,
          thread % kWarp};
}

/// All weights, [inputs / kDepth, tap, column of the fragments, half] units.
template <typename T, int kOutputs>
__device__ __forceinline__ void begin_weights(const ConvolveToCanvasParams& params, Unit* weights) {
  const int inputs = static_cast<int>(params.inputs), units = inputs / kDepth * Plan<kOutputs>::kWeights;
  for (int i = static_cast<int>(threadIdx.x); i < units; i += kTileThreads) {
    const int half = i % 2, column = i / 2 % kOutputs, tap = i / 2 / kOutputs % 9, depth = i / Plan<kOutputs>::kWeights;
    const int from = (output_of<kOutputs>(column) * 9 + tap) * inputs + depth * kDepth + half * 8;
    begin_copy(weights + (i - i % (2 * kOutputs)) + unit_of(column, half), static_cast<const T*>(params.weight) + from,
               true);
  }
}

/// Channels [first, first + kDepth) of the strip's tile at `column`; zeros outside the picture. A warp takes every
/// kWarps-th row, its lanes 16 pixels at once.
template <typename T, int kOutputs>
__device__ __forceinline__ void begin_tile(const ConvolveToCanvasParams& params, int column, int first, Unit* tile) {
  using P = Plan<kOutputs>;
  const Place at = place_here();
  const int side = static_cast<int>(params.side), inputs = static_cast<int>(params.inputs), half = at.lane % 2;
  const auto within = [&](int i) { return static_cast<unsigned>(i) < static_cast<unsigned>(side); };
  // The unit above and beside the tile; what is outside the picture is not read.
  const T* corner = static_cast<const T*>(params.x) + ((at.picture * side + at.row - 1) * side + column - 1) * inputs +
                    first + half * 8;
#pragma unroll 1
  for (int down = at.warp; down < kTileRows + 2; down += kWarps) {
    const T* from = corner + static_cast<std::int64_t>(down) * (side * inputs);
#pragma unroll
    for (int across = at.lane / 2; across < P::kColumns + 2; across += 16) {
      begin_copy(tile + down * P::kPitch + unit_of(across, half), from + across * inputs,
                 within(at.row + down - 1) && within(column + across - 1));
    }
  }
}

/// sums += kDepth channels of the warp's pixels, all nine taps.
template <typename T, int kOutputs>
__device__ __forceinline__ void convolve(const Unit* weights, const Unit* tile, Sums<kOutputs>& sums) {
  using P = Plan<kOutputs>;
  const Place at = place_here();
  // Of the four matrices that ldmatrix loads, lane / 8 names one's rows: of a rows 0… and 8… of the first half, then of
  // the second one; of b both halves of columns 0…, then of columns 8….
  const Unit* rows = tile + at.warp / P::kAcross * P::kWarpRows * P::kPitch;
  const Unit* columns = weights + unit_of(at.lane / 16 * 8 + at.lane % 8, at.lane / 8 % 2);
#pragma unroll
  for (int dx = 0; dx < 3; ++dx) {
    const Unit* pixels = rows + unit_of(at.warp % P::kAcross * 16 + at.lane % 16 + dx, at.lane / 16);
    unsigned a[P::kWarpRows + 2][4];  // a row serves up to three rows of the result
#pragma unroll
    for (int row = 0; row < P::kWarpRows + 2; ++row) {
      load_matrices(pixels + row * P::kPitch, a[row][0], a[row][1], a[row][2], a[row][3]);
    }
#pragma unroll
    for (int dy = 0; dy < 3; ++dy) {
      unsigned b[P::kFragments][2];
#pragma unroll
      for (int n = 0; n < P::kFragments; n += 2) {
        load_matrices(columns + 2 * ((dy * 3 + dx) * kOutputs + n * 8), b[n][0], b[n][1], b[n + 1][0], b[n + 1][1]);
      }
#pragma unroll
      for (int row = 0; row < P::kWarpRows; ++row) multiply_add<T>(a[row + dy], b, sums[row]);
    }
  }
}

}  // namespace styleclip::cuda
