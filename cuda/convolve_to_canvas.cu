// A same-size 3x3 convolution whose sums never leave the registers before they are a layer's end, a pixel's RGB and
// that one's share of CLIP's canvas. Of a picture of 1024 px and 32 channels x is read (64 MiB of float16) and 2.6 MiB
// of lines are written; a convolution and then activate_to_canvas move 64 MiB three times.
//
// Two steps, each number summed by one thread in a fixed order, so that the same input gives the same bits:
//   1. A block walks along a strip of kTileRows rows of a picture, tile by tile (convolve_tiles.h). A warp has all
//      outputs of its pixels, so that it knows their RGB without asking another. A tile's RGB goes through shared
//      memory into the lines: the strip's rows resampled across, of each number as much as the tile has a share in.
//   2. A block takes 32 x 32 pixels of the canvas and sums the lines downwards.
//
// The band of each row of the matrix is found first (bands.cu).
#include "convolve_to_canvas.h"

#include "bands.h"
#include "convolve_tiles.h"
#include "elements.h"
#include "tensor_cores.h"
#include "warps.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = kTileThreads;

/// A color of a tile in shared memory. Colors begin in different banks.
template <int kOutputs>
constexpr int kColor = Plan<kOutputs>::kColumns * kTileRows + 4;

/// Where it has a pixel: of the neighbours in a row, which write, and those in a column, which read, no two meet in a
/// bank.
__device__ __forceinline__ int pixel_of(int row, int column) {
  return column * kTileRows + (row ^ (column / 2 % kTileRows));
}

/// What the end of a layer needs of an output, by the fragments' columns: bias and the weights of the three colors.
template <int kOutputs>
__device__ __forceinline__ void load_ends(const ConvolveToCanvasParams& params, float (*ends)[4]) {
  const int column = static_cast<int>(threadIdx.x), output = output_of<kOutputs>(column);
  if (column >= kOutputs) return;
  ends[column][0] = params.bias[output];
  for (int color = 0; color < 3; ++color) ends[column][1 + color] = params.rgb_weight[color * kOutputs + output];
}

// ---------------------------------------------------------------------------------------------------------------------
// The end of a tile

/// The layer's end on the sums, which go to y where asked, and the pixels' RGB to `colors`.
template <typename T, int kOutputs>
__device__ __forceinline__ void finish(const ConvolveToCanvasParams& params, int column, const float (*ends)[4],
                                       float* colors, Sums<kOutputs>& sums) {
  using P = Plan<kOutputs>;
  constexpr int kPixels = 2 * P::kWarpRows, kMine = kOutputs / 4;  // of a lane, and a pixel's outputs in it
  constexpr int kGroup = kMine % 8 == 0 ? 8 : 4;                   // moved at once
  const Place at = place_here();
  const int side = static_cast<int>(params.side), member = at.lane % 4;
  const int row = at.warp / P::kAcross * P::kWarpRows, across = at.warp % P::kAcross * 16 + at.lane / 4;
  const int first = (at.row + row) * side + column + across;
  // Pixel i is i / 2 rows below the first one and i % 2 * 8 columns beside it.
  const auto inside = [&](int i) { return at.row + row + i / 2 < side && column + across + i % 2 * 8 < side; };
  const auto index = [&](int i) { return first + i / 2 * side + i % 2 * 8; };
  float noise[kPixels], dots[kPixels][3] = {};
#pragma unroll
  for (int i = 0; i < kPixels; ++i) noise[i] = params.noise != nullptr && inside(i) ? params.noise[index(i)] : 0.0f;
#pragma unroll
  for (int o = 0; o < kMine; ++o) {
    float end[4];
    load(ends[o / 2 * 8 + member * 2 + o % 2], end);
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      float& y = sums[i / 2][o / 2][i % 2 * 2 + o % 2];
      y = activated(y + (noise[i] + end[0]), params.limit);
#pragma unroll
      for (int color = 0; color < 3; ++color) dots[i][color] += y * end[1 + color];
    }
  }
#pragma unroll
  for (int i = 0; i < kPixels; ++i) {
    if (params.y != nullptr && inside(i)) {
      T* to = static_cast<T*>(params.y) + (at.picture * (side * side) + index(i)) * kOutputs + member * kMine;
#pragma unroll
      for (int o = 0; o < kMine; o += kGroup) {
        float group[kGroup];
#pragma unroll
        for (int k = 0; k < kGroup; ++k) group[k] = sums[i / 2][(o + k) / 2][i % 2 * 2 + k % 2];
        store(group, to + o);
      }
    }
#pragma unroll
    for (int color = 0; color < 3; ++color) {  // over the four lanes of a pixel
      dots[i][color] += __shfl_xor_sync(kAllLanes, dots[i][color], 1);
      dots[i][color] += __shfl_xor_sync(kAllLanes, dots[i][color], 2);
    }
    if (member < 3) {
      const float dot = member == 0 ? dots[i][0] : member == 1 ? dots[i][1] : dots[i][2];
      colors[member * kColor<kOutputs> + pixel_of(row + i / 2, across + i % 2 * 8)] =
          clamped(dot + params.rgb_bias[member], params.rgb_limit);
    }
  }
}

/// A tile's share of the lines. A warp takes every kWarps-th column of the canvas, so that a thread goes on with its
/// own numbers from tile to tile; its lanes are the strip's rows, twice: for the even and for the odd pixels.
template <int kOutputs>
__device__ __forceinline__ void resample_across(const ConvolveToCanvasParams& params, int column, const float* colors) {
  const Place at = place_here();
  const std::int64_t size = params.size, side = params.side;
  const int end = column + Plan<kOutputs>::kColumns < side ? column + Plan<kOutputs>::kColumns : static_cast<int>(side);
  const int row = at.lane % kTileRows, odd = at.lane / kTileRows;
  const bool writes = odd == 0 && at.row + row < side;
  for (std::int64_t base = at.warp; base < size; base += kThreads) {
    // Which of the warp's next 32 columns have a share in this tile; one of nothing but zeros has one in the first.
    const std::int64_t mine = base + at.lane * kWarps;
    const int first = mine < size ? params.band_rows[mine] : 0;
    const int taps = mine < size ? params.band_rows[size + mine] : 0;
    const bool shares = taps > 0 ? first < end && first + taps > column : mine < size && column == 0;
    for (unsigned left = __ballot_sync(kAllLanes, shares); left != 0; left &= left - 1) {
      const int lane = __ffs(static_cast<int>(left)) - 1;
      const int band = __shfl_sync(kAllLanes, first, lane), band_end = band + __shfl_sync(kAllLanes, taps, lane);
      const std::int64_t x = base + lane * kWarps;
      float* line = params.lines + (at.picture * 3 * size + x) * side + at.row + row;  // of the first color
      float before[3] = {}, sums[3] = {};
#pragma unroll
      for (int color = 0; color < 3; ++color) {
        if (writes && band < column) before[color] = line[color * size * side];
      }
      const int stop = band_end < end ? band_end : end;
#pragma unroll 4
      for (int i = (band > column ? band : column) + odd; i < stop; i += 2) {
        const float weight = params.band_weights[(i - band) * size + x];
        const int from = pixel_of(row, i - column);
#pragma unroll
        for (int color = 0; color < 3; ++color) sums[color] += weight * colors[color * kColor<kOutputs> + from];
      }
#pragma unroll
      for (int color = 0; color < 3; ++color) {
        sums[color] += __shfl_xor_sync(kAllLanes, sums[color], kTileRows);
        if (writes) line[color * size * side] = before[color] + sums[color];
      }
    }
  }
}

/// The same without a matrix: the canvas is the picture.
template <int kOutputs>
__device__ __forceinline__ void add_colors(const ConvolveToCanvasParams& params, int column, const float* colors) {
  constexpr int kColumns = Plan<kOutputs>::kColumns;
  const Place at = place_here();
  const std::int64_t side = params.side;
  for (int i = at.thread; i < 3 * kTileRows * kColumns; i += kThreads) {
    const int color = i / (kTileRows * kColumns), row = i / kColumns % kTileRows, across = i % kColumns;
    if (at.row + row >= side || column + across >= side) continue;
    params.canvas[((at.picture * 3 + color) * side + at.row + row) * side + column + across] +=
        colors[color * kColor<kOutputs> + pixel_of(row, across)];
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 1: a strip of a picture. Shared memory: weights, two tiles in turns, the outputs' ends, a tile's colors

template <int kOutputs>
std::int64_t shared_bytes(std::int64_t inputs) {
  const std::int64_t units = inputs / kDepth * Plan<kOutputs>::kWeights + 2 * Plan<kOutputs>::kTile + kOutputs;
  return units * static_cast<std::int64_t>(sizeof(Unit)) +
         3 * kColor<kOutputs> * static_cast<std::int64_t>(sizeof(float));
}

template <typename T, int kOutputs>
__global__ void __launch_bounds__(kThreads, 2)  // two blocks a processor, where they find room: 128 registers
    convolve_strips_kernel(const ConvolveToCanvasParams params) {
  using P = Plan<kOutputs>;
  STYLECLIP_DYNAMIC_SHARED(Unit, memory);
  const int side = static_cast<int>(params.side), inputs = static_cast<int>(params.inputs);
  Unit* const weights = memory;
  Unit* const tiles = weights + inputs / kDepth * P::kWeights;
  auto* const ends = reinterpret_cast<float(*)[4]>(tiles + 2 * P::kTile);
  float* const colors = ends[kOutputs];
  begin_weights<T, kOutputs>(params, weights);
  begin_tile<T, kOutputs>(params, 0, 0, tiles);
  load_ends<kOutputs>(params, ends);
  int turn = 0;
  for (int column = 0; column < side; column += P::kColumns) {
    Sums<kOutputs> sums = {};
    for (int first = 0; first < inputs; first += kDepth, turn ^= 1) {
      end_copies();
      __syncthreads();  // this turn's tile is there, and nobody reads the last one's any more
      const bool last = first + kDepth == inputs;
      const int next = last ? column + P::kColumns : column;
      if (next < side) begin_tile<T, kOutputs>(params, next, last ? 0 : first + kDepth, tiles + (turn ^ 1) * P::kTile);
      convolve<T, kOutputs>(weights + first / kDepth * P::kWeights, tiles + turn * P::kTile, sums);
    }
    finish<T, kOutputs>(params, column, ends, colors, sums);
    __syncthreads();  // the colors are there; the next tile's come after another barrier
    if (params.matrix != nullptr) {
      resample_across<kOutputs>(params, column, colors);
    } else {
      add_colors<kOutputs>(params, column, colors);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 2: a tile of the canvas, one color

__global__ void __launch_bounds__(kThreads)
    sum_columns_kernel(const ConvolveToCanvasParams params, std::int64_t tiles) {
  STYLECLIP_SHARED(float, sums, [kWarp][kWarp + 1]);
  const std::int64_t size = params.size;
  const std::int64_t plane = blockIdx.x / (tiles * tiles);  // picture and color
  const std::int64_t row = blockIdx.x / tiles % tiles * kWarp, column = blockIdx.x % tiles * kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  // Lanes are rows while the lines are read, and columns while the canvas is written.
  const int taps = row + lane < size ? params.band_rows[size + row + lane] : 0;
  const float* line = params.lines + plane * size * params.side + (taps > 0 ? params.band_rows[row + lane] : 0);
  for (int i = warp; i < kWarp && column + i < size; i += kWarps) {
    float sum = 0;
#pragma unroll 4
    for (int tap = 0; tap < taps; ++tap) {
      sum += params.band_weights[tap * size + row + lane] * line[(column + i) * params.side + tap];
    }
    sums[lane][i] = sum;
  }
  __syncthreads();
  for (int i = warp; i < kWarp && row + i < size && column + lane < size; i += kWarps) {
    params.canvas[(plane * size + row + i) * size + column + lane] += sums[i][lane];
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Launcher

template <typename T, int kOutputs>
cudaError_t launch_strips(const ConvolveToCanvasParams& params, int most_bytes, cudaStream_t stream) {
  const auto bytes = static_cast<int>(shared_bytes<kOutputs>(params.inputs));
  if (bytes > most_bytes) return cudaErrorNotSupported;
  const auto kernel = &convolve_strips_kernel<T, kOutputs>;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const dim3 blocks(static_cast<unsigned>(params.pictures), static_cast<unsigned>(quotient_up(params.side, kTileRows)));
  STYLECLIP_LAUNCH_SHARED(kernel, blocks, kThreads, bytes, stream, params);
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch_strips(const ConvolveToCanvasParams& params, int most_bytes, cudaStream_t stream) {
  switch (params.outputs) {
    case 16: return launch_strips<T, 16>(params, most_bytes, stream);
    case 32: return launch_strips<T, 32>(params, most_bytes, stream);
    case 48: return launch_strips<T, 48>(params, most_bytes, stream);
    case 64: return launch_strips<T, 64>(params, most_bytes, stream);
    default: return cudaErrorInvalidValue;
  }
}

bool valid(const ConvolveToCanvasParams& params) {
  constexpr std::int64_t kMaxSide = 1 << 15, kMaxSize = 1 << 30;  // a picture's pixels are counted in 32 bits
  const std::int64_t pictures = params.pictures, side = params.side, size = params.size;
  const std::int64_t tiles = quotient_up(size, kWarp);
  const auto channels = [](std::int64_t count) { return count > 0 && count <= kMostChannels && count % 16 == 0; };
  const auto aligned = [](const void* data) { return reinterpret_cast<std::uintptr_t>(data) % sizeof(Unit) == 0; };
  return channels(params.inputs) && channels(params.outputs) && params.element != Element::kFloat32 &&
         side <= kMaxSide && size <= kMaxSize && countable({pictures, side, side, kMostChannels}) &&
         countable({pictures, 3, side, size}) && countable({pictures, 3, size, size}) &&
         (params.matrix != nullptr || size == side) && pictures <= kMaxBlocks &&
         fits_grid(3 * pictures, tiles, tiles, 1) && aligned(params.x) && aligned(params.weight) && aligned(params.y);
}

}  // namespace

cudaError_t launch_convolve_to_canvas(const ConvolveToCanvasParams& params, cudaStream_t stream) {
  if (!valid(params)) return cudaErrorInvalidValue;
  const std::int64_t side = params.side, size = params.size, tiles = quotient_up(size, kWarp);
  int device = 0, capability = 0, bytes = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&capability, cudaDevAttrComputeCapabilityMajor, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  if (capability < kTensorCoresSince) return cudaErrorNotSupported;
  if (params.pictures == 0 || side == 0 || size == 0) return cudaSuccess;
  if (params.matrix != nullptr) {
    error = launch_find_bands({params.matrix, size, side, side, 1, params.band_weights, params.band_rows}, stream);
    if (error != cudaSuccess) return error;
  }
  error = params.element == Element::kFloat16 ? launch_strips<__half>(params, bytes, stream)
                                              : launch_strips<__nv_bfloat16>(params, bytes, stream);
  if (error != cudaSuccess || params.matrix == nullptr) return error;
  const auto blocks = static_cast<unsigned>(3 * params.pictures * tiles * tiles);
  STYLECLIP_LAUNCH(sum_columns_kernel, blocks, kThreads, stream, params, tiles);
  return cudaGetLastError();
}

}  // namespace styleclip::cuda
