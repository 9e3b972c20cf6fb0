// y = clamp(√2 leaky_relu(gain x + noise + bias, 0.2), ±limit) and its backward pass: one read of each number and one write,
// which is all that the memory's bandwidth allows. A block takes a run of pixels of one picture; a thread keeps to one group
// of channels, and so reads its gain and bias once, and in the backward pass keeps its sums in registers; a block's sums are
// written, and added up by styled_sums.cu.
#include "styled_activate.h"

#include "styled.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRounds = 8;              // pixels that a thread takes forwards
constexpr std::int64_t kLeastRun = 16;  // pixels of a run backwards
constexpr std::int64_t kMostRuns = 512;

template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    styled_activate_kernel(const StyledActivateParams params, std::int64_t runs) {
  const std::int64_t groups = params.channels / N;
  const Share share = share_pixels(groups);
  const std::int64_t picture = blockIdx.x / runs;
  const std::int64_t first = (blockIdx.x - picture * runs) * share.pixels * kRounds;
  const std::int64_t last =
      first + share.pixels * kRounds < params.pixels ? first + share.pixels * kRounds : params.pixels;
  if (share.idle()) return;
  const std::int64_t offset = picture * params.pixels * params.channels;
  const T* x = static_cast<const T*>(params.x) + offset;
  T* y = static_cast<T*>(params.y) + offset;
  const float* noises =
      params.noise == nullptr ? nullptr : params.noise + (params.noise_each ? picture * params.pixels : 0);
  for (std::int64_t group = share.group; group < groups; group += share.groups_at_once) {
    float bias[N], gain[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      bias[i] = params.bias[group * N + i];
      gain[i] = params.gain == nullptr ? 1.0f : params.gain[picture * params.channels + group * N + i];
    }
#pragma unroll 4
    for (std::int64_t pixel = first + share.pixel; pixel < last; pixel += share.pixels) {
      const std::int64_t at = pixel * params.channels + group * N;
      const float noise = noises == nullptr ? 0.0f : noises[pixel];
      float value[N];
      load(x + at, value);
#pragma unroll
      for (int i = 0; i < N; ++i) value[i] = styled(gain[i] * value[i] + (noise + bias[i]), params.limit);
      store(value, y + at);
    }
  }
}

template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    styled_activate_backward_kernel(const StyledGradients params, void* to_x, std::int64_t runs, std::int64_t run) {
  STYLECLIP_SHARED(float, memory, [kThreads * N]);
  const std::int64_t groups = params.channels / N;
  const Share share = share_pixels(groups);
  const std::int64_t picture = blockIdx.x / runs;
  const std::int64_t first = (blockIdx.x - picture * runs) * run;
  const std::int64_t last = first + run < params.pixels ? first + run : params.pixels;
  const std::int64_t offset = picture * params.pixels * params.channels;
  const T* gradient = static_cast<const T*>(params.gradient) + offset;
  const T* y = static_cast<const T*>(params.y) + offset;
  T* to = to_x == nullptr ? nullptr : static_cast<T*>(to_x) + offset;
  const float* noises =
      params.noise == nullptr ? nullptr : params.noise + (params.noise_each ? picture * params.pixels : 0);
  // Every thread makes every round, because a round holds barriers.
  for (std::int64_t base = 0; base < groups; base += share.groups_at_once) {
    const std::int64_t group = base + share.group;
    const bool active = !share.idle() && group < groups;
    float bias[N], gain[N], to_gain[N], to_bias[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      bias[i] = active ? params.bias[group * N + i] : 0.0f;
      gain[i] = active && params.gain != nullptr ? params.gain[picture * params.channels + group * N + i] : 1.0f;
      to_gain[i] = to_bias[i] = 0.0f;
    }
    if (active) {
#pragma unroll 2
      for (std::int64_t pixel = first + share.pixel; pixel < last; pixel += share.pixels) {
        const std::int64_t at = pixel * params.channels + group * N;
        const float noise = noises == nullptr ? 0.0f : noises[pixel];
        float value[N], result[N];
        load(gradient + at, value);
        load(y + at, result);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const float of_sum = unstyled(value[i], result[i], params.limit);
          to_bias[i] += of_sum;
          to_gain[i] += gain_share(of_sum, result[i], noise + bias[i], params.limit);
          value[i] = of_sum * gain[i];
        }
        if (to != nullptr) store(value, to + at);
      }
    }
    const std::int64_t sums = blockIdx.x * params.channels + base * N;
    const std::int64_t rest = params.channels - base * N;
    if (params.to_gain != nullptr) {
      sum_over_pixels<N, kThreads>(to_gain, share, memory, rest, params.gain_parts + sums);
    }
    if (params.to_bias != nullptr) {
      sum_over_pixels<N, kThreads>(to_bias, share, memory, rest, params.bias_parts + sums);
    }
  }
}

template <typename T, int N>
cudaError_t launch(const StyledActivateParams& params, cudaStream_t stream) {
  const std::int64_t runs = quotient_up(params.pixels, pixels_at_once(params.channels / N, kThreads) * kRounds);
  if (runs > kMaxBlocks / params.pictures) return cudaErrorInvalidValue;
  STYLECLIP_LAUNCH((styled_activate_kernel<T, N>), static_cast<unsigned>(params.pictures * runs), kThreads, stream,
                   params, runs);
  return cudaGetLastError();
}

std::int64_t run_of(std::int64_t pixels) {
  const std::int64_t run = quotient_up(pixels, kMostRuns);
  return run > kLeastRun ? run : kLeastRun;
}

template <typename T, int N>
cudaError_t launch(const StyledGradients& params, void* to_x, cudaStream_t stream) {
  const std::int64_t runs = styled_activate_parts(params.pixels);
  if (runs > kMaxBlocks / params.pictures || !styled_sums_fit(params)) return cudaErrorInvalidValue;
  if (to_x != nullptr || params.to_gain != nullptr || params.to_bias != nullptr) {
    STYLECLIP_LAUNCH((styled_activate_backward_kernel<T, N>), static_cast<unsigned>(params.pictures * runs), kThreads,
                     stream, params, to_x, runs, run_of(params.pixels));
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  return launch_styled_sums(params, runs, stream);
}

}  // namespace

cudaError_t launch_styled_activate(const StyledActivateParams& params, cudaStream_t stream) {
  if (!countable({params.pictures, params.pixels, params.channels})) return cudaErrorInvalidValue;
  if (params.pictures == 0 || params.pixels == 0 || params.channels == 0) return cudaSuccess;
  return with_groups(params.element, params.channels, {params.x, params.y},
                     [&]<typename T, int N>() { return launch<T, N>(params, stream); });
}

std::int64_t styled_activate_parts(std::int64_t pixels) { return quotient_up(pixels, run_of(pixels)); }

cudaError_t launch_styled_activate_backward(const StyledGradients& params, void* to_x, cudaStream_t stream) {
  if (!countable({params.pictures, params.pixels, params.channels})) return cudaErrorInvalidValue;
  if (params.pictures == 0 || params.pixels == 0 || params.channels == 0) return cudaSuccess;
  return with_groups(params.element, params.channels, {params.gradient, params.y, to_x},
                     [&]<typename T, int N>() { return launch<T, N>(params, to_x, stream); });
}

}  // namespace styleclip::cuda
