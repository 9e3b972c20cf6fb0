// toRGB and the banded resample M·rgb·Mᵀ onto CLIP's canvas, without the picture between. y is read once, which is nearly
// all of the memory traffic at the resolutions that matter (1024 px of 32 channels: 64 MiB of float16 a picture); the
// activation is written only where asked.
//
// Two steps, each number summed by one thread in a fixed order, so that the same input gives the same bits:
//   1. A block takes a row of a picture: toRGB into shared memory, then the resample across, to three lines of the
//      canvas's width (2.6 MiB of float32 a picture at 1024 px and 224, 4 % of y).
//   2. A block takes a row of the canvas and adds up the lines it has a share in. A canvas row's band overlaps its
//      neighbours', so a line is read a few times, from the L2 cache.
// One step, each block with its own rows of the canvas, would read y's rows at the edges of the bands twice instead.
//
// The band of each row of M is found first (bands.cu).
#include "add_to_canvas.h"

#include "bands.h"
#include "elements.h"
#include "warps.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSegment = 1024;  // pixels of a row that are in shared memory at once

// ---------------------------------------------------------------------------------------------------------------------
// Step 1: a row of a picture

/// What a thread knows of a group of N channels.
template <int N>
struct Channels {
  float weight[3][N], bias[N];
};

template <int N>
__device__ __forceinline__ Channels<N> load_channels(const AddToCanvasParams& params, std::int64_t group) {
  Channels<N> channels;
#pragma unroll
  for (int i = 0; i < N; ++i) {
#pragma unroll
    for (int color = 0; color < 3; ++color) {
      channels.weight[color][i] = params.weight[color * params.channels + group * N + i];
    }
    channels.bias[i] = params.activates ? params.bias[group * N + i] : 0.0f;
  }
  return channels;
}

/// Adds a group's products to the three dots; the activation goes back to y where asked.
template <typename T, int N>
__device__ __forceinline__ void add_group(const AddToCanvasParams& params, T* y, float noise,
                                          const Channels<N>& channels, float (&dots)[3]) {
  float x[N];
  load(static_cast<const T*>(y), x);
  if (params.activates) {
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = activated(x[i] + (noise + channels.bias[i]), params.limit);
    if (params.keep) store(x, y);
  }
#pragma unroll
  for (int color = 0; color < 3; ++color) {
#pragma unroll
    for (int i = 0; i < N; ++i) dots[color] += x[i] * channels.weight[color][i];
  }
}

/// The RGB of pixels [first, first + count) of a row to shared memory. `lanes`, a power of two up to 32, threads share a
/// pixel. kOnce: they hold a group each, so its weights stay in registers; else each goes on to `group + lanes`.
template <typename T, int N, bool kOnce>
__device__ __forceinline__ void rgb_of_segment(const AddToCanvasParams& params, std::int64_t picture, std::int64_t row,
                                               std::int64_t first, int count, int lanes, float (&rgb)[3][kSegment]) {
  const std::int64_t groups = params.channels / N;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int pixels_at_once = kThreads / lanes;
  T* pixels = static_cast<T*>(params.y) + ((picture * params.side + row) * params.side + first) * params.channels;
  Channels<N> mine{};
  if (kOnce && lane < groups) mine = load_channels<N>(params, lane);
  // Every thread makes every round, because a round holds shuffles.
#pragma unroll 2
  for (int start = 0; start < count; start += pixels_at_once) {
    const int pixel = start + static_cast<int>(threadIdx.x) / lanes;
    float dots[3] = {};
    if (pixel < count) {
      T* y = pixels + pixel * params.channels;
      const float noise =
          params.activates && params.noise != nullptr ? params.noise[row * params.side + first + pixel] : 0.0f;
      if constexpr (kOnce) {
        if (lane < groups) add_group<T, N>(params, y + lane * N, noise, mine, dots);
      } else {
        for (std::int64_t group = lane; group < groups; group += lanes) {
          add_group<T, N>(params, y + group * N, noise, load_channels<N>(params, group), dots);
        }
      }
    }
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
#pragma unroll
      for (int color = 0; color < 3; ++color) dots[color] += __shfl_xor_sync(kAllLanes, dots[color], offset);
    }
    if (pixel < count && lane == 0) {
#pragma unroll
      for (int color = 0; color < 3; ++color) {
        rgb[color][pixel] = clamped(dots[color] + params.rgb_bias[color], params.rgb_limit);
      }
    }
  }
}

/// A block a row. `lanes` as above.
template <typename T, int N, bool kOnce>
__global__ void __launch_bounds__(kThreads) rgb_rows_kernel(const AddToCanvasParams params, int lanes) {
  STYLECLIP_SHARED(float, rgb, [3][kSegment]);
  const std::int64_t picture = blockIdx.x / params.side;
  const std::int64_t row = blockIdx.x - picture * params.side;
  const std::int64_t size = params.size;
  float* lines = params.lines + (picture * params.side + row) * 3 * size;  // unused without a matrix
  for (std::int64_t first = 0; first < params.side; first += kSegment) {
    const int count = static_cast<int>(first + kSegment < params.side ? kSegment : params.side - first);
    if (first > 0) __syncthreads();  // the last segment has been read
    rgb_of_segment<T, N, kOnce>(params, picture, row, first, count, lanes, rgb);
    __syncthreads();
    if (params.matrix == nullptr) {
      for (int i = static_cast<int>(threadIdx.x); i < 3 * count; i += kThreads) {
        const int color = i / count;
        const int x = i - color * count;
        params.canvas[((picture * 3 + color) * size + row) * size + first + x] += rgb[color][x];
      }
      continue;
    }
    for (int x = static_cast<int>(threadIdx.x); x < size; x += kThreads) {
      // Of the band's columns, those in this segment.
      const int band = static_cast<int>(params.band_rows[x] - first);  // where the band begins in the segment
      const int taps = params.band_rows[size + x];
      const int begin = band < 0 ? -band : 0;
      const int end = band + taps > count ? count - band : taps;
      float sums[3] = {};
      for (int tap = begin; tap < end; ++tap) {
        const float weight = params.band_weights[tap * size + x];
#pragma unroll
        for (int color = 0; color < 3; ++color) sums[color] += weight * rgb[color][band + tap];
      }
#pragma unroll
      for (int color = 0; color < 3; ++color) {
        float* at = lines + color * size + x;
        *at = first == 0 ? sums[color] : *at + sums[color];
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 2: a row of the canvas, all three colors

__global__ void __launch_bounds__(kThreads) sum_lines_kernel(const AddToCanvasParams params) {
  const std::int64_t size = params.size;
  const std::int64_t picture = blockIdx.x / size;
  const std::int64_t row = blockIdx.x - picture * size;
  const int first = params.band_rows[row];
  const int taps = params.band_rows[size + row];
  const float* lines = params.lines + (picture * params.side + first) * 3 * size;
  for (std::int64_t i = threadIdx.x; i < 3 * size; i += kThreads) {
    float sum = 0;
#pragma unroll 4
    for (int tap = 0; tap < taps; ++tap) sum += params.band_weights[tap * size + row] * lines[tap * 3 * size + i];
    const std::int64_t color = i / size;
    params.canvas[((picture * 3 + color) * size + row) * size + i - color * size] += sum;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Launcher

template <typename T, int N>
cudaError_t launch_rows(const AddToCanvasParams& params, cudaStream_t stream) {
  const std::int64_t groups = params.channels / N;
  int lanes = 1;
  while (lanes < kWarp && lanes < groups) lanes *= 2;
  const auto blocks = static_cast<unsigned>(params.pictures * params.side);
  if (groups <= kWarp) {
    STYLECLIP_LAUNCH((rgb_rows_kernel<T, N, true>), blocks, kThreads, stream, params, lanes);
  } else {
    STYLECLIP_LAUNCH((rgb_rows_kernel<T, N, false>), blocks, kThreads, stream, params, lanes);
  }
  return cudaGetLastError();
}

cudaError_t launch_rows(const AddToCanvasParams& params, cudaStream_t stream) {
  return with_groups(params.element, params.channels, {params.y},
                     [&]<typename T, int N>() { return launch_rows<T, N>(params, stream); });
}

}  // namespace

CanvasScratch canvas_scratch(std::int64_t pictures, std::int64_t side, std::int64_t size) {
  return {pictures * side * 3 * size, side * size, 2 * size};
}

cudaError_t launch_add_to_canvas(const AddToCanvasParams& params, cudaStream_t stream) {
  constexpr std::int64_t kMaxSide = 1 << 30;
  const std::int64_t side = params.side, size = params.size;
  if (side > kMaxSide || size > kMaxSide) return cudaErrorInvalidValue;
  if (!countable({params.pictures, side, side, params.channels}) || !countable({params.pictures, 3, side, size}) ||
      !countable({params.pictures, 3, size, size})) {
    return cudaErrorInvalidValue;
  }
  if (params.matrix == nullptr && size != side) return cudaErrorInvalidValue;
  if (params.pictures == 0 || side == 0 || size == 0) return cudaSuccess;
  if (params.pictures > kMaxBlocks / side || params.pictures > kMaxBlocks / size) return cudaErrorInvalidValue;
  if (params.matrix == nullptr) return launch_rows(params, stream);
  const BandedMatrix matrix{params.matrix, size, side, side, 1, params.band_weights, params.band_rows};
  if (const cudaError_t error = launch_find_bands(matrix, stream); error != cudaSuccess) return error;
  if (const cudaError_t error = launch_rows(params, stream); error != cudaSuccess) return error;
  STYLECLIP_LAUNCH(sum_lines_kernel, static_cast<unsigned>(params.pictures * size), kThreads, stream, params);
  return cudaGetLastError();
}

}  // namespace styleclip::cuda
