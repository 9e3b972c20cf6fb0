// Sums of unit differences of unit embeddings: for every channel, over all images,
//
//     d = plus / |plus| - minus / |minus|,    sum += d / |d|,    magnitude += |d|,    count += |d| > 0
//
// (released code, SingleChannel.GetFs; github.com/orpatashnik/StyleCLIP). Each embedding is read once and each channel
// written once, so memory bandwidth is the bound to aim at: a warp takes an image, holds both rows in registers while
// it needs their lengths before it can subtract, and a block takes a channel, so that no sum needs an atomic and the
// order of every addition is fixed by the shape alone: the same input gives the same bits.
//
// Arithmetic is float64 throughout. The embeddings of a pair are nearly equal, so |d| is small (1e-3 and below for weak
// channels) and float32 would lose as many digits of d. The difference must also be exactly zero for equal rows, since
// that decides `count`; a multiply fused into the subtraction would leave the product's rounding error behind, hence
// __dmul_rn.
//
// A row longer than 512 elements is shared by several warps ("parts"), which meet through shared memory.
#include "accumulate_directions.h"

#include <algorithm>

#include "elements.h"
#include "warps.h"

namespace styleclip::cuda {
namespace {

constexpr int kMaxWarps = 8;
constexpr int kMaxThreads = kMaxWarps * kWarp;
constexpr int kVector = 4;               // neighbouring elements that a lane loads at once: 16 bytes of float32
constexpr int kTile = kWarp * kVector;   // elements that a warp loads at once
constexpr int kTiles = 4;                // tiles of a row that a warp holds
constexpr int kPart = kTiles * kTile;    // elements of a row that a warp holds
constexpr int kHeld = kTiles * kVector;  // elements of a row that a lane holds
static_assert(kMaxWarps * kPart == kMaxEmbeddingDim);

// ---------------------------------------------------------------------------------------------------------------------
// Loads

/// This lane's elements of a row [dim]: of each tile of its warp's part, kVector neighbours. Zeros beyond the row's
/// end, which add nothing to a length. `vectors`: the row is aligned for whole vectors and dim is a multiple of them.
template <typename T>
__device__ __forceinline__ void load_row(const T* __restrict__ row, int first, int step, int dim, bool vectors,
                                         float (&held)[kHeld]) {
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const int at = first + tile * step;
    if (vectors) {
      Group<T, kVector> loaded{};
      if (at < dim) loaded = *reinterpret_cast<const Group<T, kVector>*>(row + at);
#pragma unroll
      for (int i = 0; i < kVector; ++i) held[tile * kVector + i] = to_float(loaded.element[i]);
    } else {
#pragma unroll
      for (int i = 0; i < kVector; ++i) held[tile * kVector + i] = at + i < dim ? to_float(row[at + i]) : 0.0f;
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Sums

/// Where a thread stands: a block's warps form groups of `parts`, and a group's warps share a row.
struct Place {
  int lane, warp, parts;
  __device__ int part() const { return warp % parts; }
  __device__ int group() const { return warp / parts; }
};

/// Replaces N partial sums of each lane by their sums over the row. With several parts it holds one barrier, so every
/// thread of the block must call it; `meeting` may be written again only after another barrier, so callers alternate.
template <int N>
__device__ __forceinline__ void row_sums(double (&sums)[N], double (&meeting)[N][kMaxWarps], const Place& place) {
#pragma unroll
  for (int n = 0; n < N; ++n) sums[n] = sum_of_warp(sums[n]);
  if (place.parts == 1) return;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    if (place.lane == 0) meeting[n][place.warp] = sums[n];
    sums[n] = 0;
  }
  __syncthreads();
  for (int part = 0; part < place.parts; ++part) {
#pragma unroll
    for (int n = 0; n < N; ++n) sums[n] += meeting[n][place.group() * place.parts + part];
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Kernel: a block a channel, a group of its warps every groups-th image

template <typename T>
__global__ void __launch_bounds__(kMaxThreads, 2)
    accumulate_directions_kernel(const AccumulateDirectionsParams params, int parts, int groups, bool vectors) {
  STYLECLIP_SHARED(double, row_squares, [2][kMaxWarps]);
  STYLECLIP_SHARED(double, difference_squares, [1][kMaxWarps]);
  STYLECLIP_SHARED(double, handed_sum, [kMaxWarps][kVector][kWarp]);
  STYLECLIP_SHARED(double, handed_magnitude, [kMaxWarps]);
  STYLECLIP_SHARED(std::int64_t, handed_count, [kMaxWarps]);

  const Place place{static_cast<int>(threadIdx.x) % kWarp, static_cast<int>(threadIdx.x) / kWarp, parts};
  const int dim = static_cast<int>(params.dim);
  const std::int64_t channel = blockIdx.x;
  // A row's tiles are dealt to its parts in turn, so that the parts carry equal loads.
  const int first = place.part() * kTile + place.lane * kVector;
  const int step = parts * kTile;
  const T* plus_rows = static_cast<const T*>(params.plus) + channel * params.plus_channel_stride;
  const T* minus_rows = static_cast<const T*>(params.minus) + channel * params.minus_channel_stride;

  double sum[kHeld] = {};  // of this group's unit differences
  double magnitude = 0;
  std::int64_t count = 0;
  // Every warp makes every round, with or without an image, because a round holds barriers.
  for (std::int64_t round = 0; round < params.images; round += groups) {
    const std::int64_t image = round + place.group();
    const bool present = image < params.images;
    const int length = present ? dim : 0;
    float plus[kHeld];
    float minus[kHeld];
    load_row(plus_rows + (present ? image * params.plus_image_stride : 0), first, step, length, vectors, plus);
    load_row(minus_rows + (present ? image * params.minus_image_stride : 0), first, step, length, vectors, minus);

    double squares[2] = {};
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      squares[0] += static_cast<double>(plus[i]) * plus[i];
      squares[1] += static_cast<double>(minus[i]) * minus[i];
    }
    row_sums(squares, row_squares, place);

    const double plus_scale = rsqrt(squares[0]);
    const double minus_scale = rsqrt(squares[1]);
    double difference[kHeld];
    double square[1] = {};
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      difference[i] = __dmul_rn(plus[i], plus_scale) - __dmul_rn(minus[i], minus_scale);
      square[0] += difference[i] * difference[i];
    }
    row_sums(square, difference_squares, place);

    if (present && square[0] != 0) {  // NaN is not 0 either: it reaches the sums
      const double scale = rsqrt(square[0]);
#pragma unroll
      for (int i = 0; i < kHeld; ++i) sum[i] += difference[i] * scale;
      magnitude += square[0] * scale;
      count += square[0] > 0;
    }
  }

  // Group 0 collects, in the order of the groups, a tile at a time.
  if (place.part() == 0 && place.lane == 0) {
    handed_magnitude[place.group()] = magnitude;
    handed_count[place.group()] = count;
  }
  double* channel_sum = params.sum + channel * params.sum_channel_stride;
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    if (place.group() > 0) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) handed_sum[place.warp][i][place.lane] = sum[tile * kVector + i];
    }
    __syncthreads();
    if (place.group() == 0) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const int at = first + tile * step + i;
        double total = sum[tile * kVector + i];
        for (int group = 1; group < groups; ++group) total += handed_sum[group * parts + place.warp][i][place.lane];
        if (at < dim) channel_sum[at] += total;
      }
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    for (int group = 0; group < groups; ++group) {
      params.magnitude[channel] += handed_magnitude[group];
      params.count[channel] += handed_count[group];
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Launcher

/// Whether rows of T can be read a vector at a time.
template <typename T>
bool rows_are_vectors(const void* rows, std::int64_t channel_stride, std::int64_t image_stride, std::int64_t dim) {
  return reinterpret_cast<std::uintptr_t>(rows) % alignof(Group<T, kVector>) == 0 && channel_stride % kVector == 0 &&
         image_stride % kVector == 0 && dim % kVector == 0;
}

template <typename T>
cudaError_t launch(const AccumulateDirectionsParams& params, cudaStream_t stream) {
  const int parts = static_cast<int>((params.dim + kPart - 1) / kPart);
  const int groups = static_cast<int>(std::min<std::int64_t>(params.images, kMaxWarps / parts));
  const bool vectors =
      rows_are_vectors<T>(params.plus, params.plus_channel_stride, params.plus_image_stride, params.dim) &&
      rows_are_vectors<T>(params.minus, params.minus_channel_stride, params.minus_image_stride, params.dim);
  const auto blocks = static_cast<unsigned>(params.channels);
  const auto threads = static_cast<unsigned>(groups * parts * kWarp);
  STYLECLIP_LAUNCH(accumulate_directions_kernel<T>, blocks, threads, stream, params, parts, groups, vectors);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_accumulate_directions(const AccumulateDirectionsParams& params, cudaStream_t stream) {
  if (params.channels > kMaxBlocks || params.dim < 1 || params.dim > kMaxEmbeddingDim) return cudaErrorInvalidValue;
  if (!countable({params.channels, params.images, params.dim})) return cudaErrorInvalidValue;
  if (params.channels == 0 || params.images == 0) return cudaSuccess;
  return with_element(params.element, [&]<typename T>() { return launch<T>(params, stream); });
}

}  // namespace styleclip::cuda
