// The sums behind the gradients to gain, bias and noise. Those to gain and bias come as sums over parts of a picture, made
// by the pass that also writes the gradient to x, and are added up here in float64; that to noise is a sum over channels,
// asked for by inversion alone, which makes its own pass: a warp a pixel. No atomics: the same bits every time.
#include "styled_sums.h"

#include <limits>

#include "styled.h"
#include "warps.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

/// A block takes 32 channels, a lane each, and its warps every eighth of `count` rows of [count, channels].
__device__ __forceinline__ double sum_of_rows(const float* rows, std::int64_t count, std::int64_t channels,
                                              std::int64_t channel, double (&memory)[kWarps][kWarp]) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  double sum = 0;
  if (channel < channels) {
#pragma unroll 4
    for (std::int64_t row = warp; row < count; row += kWarps) sum += rows[row * channels + channel];
  }
  memory[warp][lane] = sum;
  __syncthreads();
  sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += memory[i][lane];
  return sum;
}

/// Blocks of one picture's channels; to_gain. The parts are sums of gain x, which tell nothing of x where gain is 0.
__global__ void __launch_bounds__(kThreads) styled_gain_kernel(const StyledGradients params, std::int64_t parts) {
  STYLECLIP_SHARED(double, memory, [kWarps][kWarp]);
  const std::int64_t blocks = (params.channels + kWarp - 1) / kWarp;
  const std::int64_t picture = blockIdx.x / blocks;
  const std::int64_t channel = (blockIdx.x - picture * blocks) * kWarp + threadIdx.x % kWarp;
  const double sum =
      sum_of_rows(params.gain_parts + picture * parts * params.channels, parts, params.channels, channel, memory);
  if (threadIdx.x < kWarp && channel < params.channels) {
    const std::int64_t at = picture * params.channels + channel;
    const float gain = params.gain[at];
    params.to_gain[at] = gain == 0.0f ? kUnknown : static_cast<float>(sum / gain);
  }
}

/// Blocks of channels; to_bias, over all pictures.
__global__ void __launch_bounds__(kThreads) styled_bias_kernel(const StyledGradients params, std::int64_t parts) {
  STYLECLIP_SHARED(double, memory, [kWarps][kWarp]);
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
  const double sum = sum_of_rows(params.bias_parts, params.pictures * parts, params.channels, channel, memory);
  if (threadIdx.x < kWarp && channel < params.channels) params.to_bias[channel] = static_cast<float>(sum);
}

/// A warp takes a number of to_noise: one picture's pixel, or all pictures' where they share the noise.
template <typename T>
__global__ void __launch_bounds__(kThreads) styled_noise_kernel(const StyledGradients params, std::int64_t count) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (at >= count) return;  // a whole warp
  const std::int64_t pictures = params.noise_each ? 1 : params.pictures;
  float sum = 0.0f;
  for (std::int64_t picture = 0; picture < pictures; ++picture) {
    const std::int64_t first = (picture * params.pixels + at) * params.channels;
    const T* gradient = static_cast<const T*>(params.gradient) + first;
    const T* y = static_cast<const T*>(params.y) + first;
#pragma unroll 4
    for (std::int64_t channel = lane; channel < params.channels; channel += kWarp) {
      sum += unstyled(to_float(gradient[channel]), to_float(y[channel]), params.limit);
    }
  }
  sum = sum_of_warp(sum);
  if (lane == 0) params.to_noise[at] = sum;
}

template <typename T>
cudaError_t launch_noise(const StyledGradients& params, cudaStream_t stream) {
  const std::int64_t count = params.pixels * (params.noise_each ? params.pictures : 1);
  const auto blocks = static_cast<unsigned>(quotient_up(count, kWarps));
  STYLECLIP_LAUNCH((styled_noise_kernel<T>), blocks, kThreads, stream, params, count);
  return cudaGetLastError();
}

}  // namespace

bool styled_sums_fit(const StyledGradients& params) {
  const std::int64_t blocks = quotient_up(params.channels, kWarp);
  if (params.to_gain != nullptr && !fits_grid(params.pictures, blocks, 1, 1)) return false;
  if (params.to_bias != nullptr && blocks > kMaxBlocks) return false;
  return params.to_noise == nullptr || fits_grid(params.pixels, params.noise_each ? params.pictures : 1, 1, kWarps);
}

cudaError_t launch_styled_sums(const StyledGradients& params, std::int64_t parts, cudaStream_t stream) {
  if (!styled_sums_fit(params)) return cudaErrorInvalidValue;
  const std::int64_t blocks = quotient_up(params.channels, kWarp);
  if (params.to_gain != nullptr) {
    STYLECLIP_LAUNCH(styled_gain_kernel, static_cast<unsigned>(params.pictures * blocks), kThreads, stream, params,
                     parts);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  }
  if (params.to_bias != nullptr) {
    STYLECLIP_LAUNCH(styled_bias_kernel, static_cast<unsigned>(blocks), kThreads, stream, params, parts);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  }
  if (params.to_noise == nullptr) return cudaSuccess;
  return with_element(params.element, [&]<typename T>() { return launch_noise<T>(params, stream); });
}

}  // namespace styleclip::cuda
