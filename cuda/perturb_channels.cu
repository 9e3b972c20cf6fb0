// The perturbed layer: 2 count pictures are written and hardly anything is read, so the bandwidth of writing is the bound to
// aim at. A thread holds the nine taps of its group of output channels and walks along runs of a row, keeping the plane's
// 3x3 window in registers: three numbers a pixel are read, the same ones by all threads of the pixel. The products are
// computed once for both signs.
//
// The base's linear part is the same for all style channels. Blocks that follow one another take the same pixels of
// different style channels, so that it is read from memory once and from the L2 cache count - 1 times.
#include "perturb_channels.h"

#include "elements.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRun = 8;     // pixels of a row that a thread walks along
constexpr int kRounds = 4;  // runs that it takes
constexpr int kGroup = 4;   // channels of a thread: 36 taps in registers

template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 2)  // two blocks a processor: 128 registers
    perturb_channels_kernel(const PerturbChannelsParams params, int runs_a_row, std::int64_t runs) {
  const std::int64_t channels = params.channels;
  const std::int64_t groups = channels / N;
  const Share share = share_pixels(groups);
  if (share.idle()) return;
  const std::int64_t chunk = blockIdx.x / params.count;
  const std::int64_t k = blockIdx.x - chunk * params.count;
  const int side = static_cast<int>(params.side);
  const std::int64_t picture = params.side * params.side * channels;
  const std::int64_t width = params.side + 2;
  const float* plane = params.planes + k * width * width;
  const float step_plus = params.steps[k];
  const float step_minus = params.steps[params.count + k];
  T* plus = static_cast<T*>(params.y) + k * picture;
  T* minus = plus + params.count * picture;
  const std::int64_t first = chunk * share.pixels * kRounds;
  const std::int64_t last = first + share.pixels * kRounds < runs ? first + share.pixels * kRounds : runs;
  for (std::int64_t group = share.group; group < groups; group += share.groups_at_once) {
    const std::int64_t o = group * N;
    float taps[9][N], gain_plus[N], gain_minus[N], bias[N];
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) load(params.taps + (k * 9 + tap) * channels + o, taps[tap]);
    load(params.gains + k * channels + o, gain_plus);
    load(params.gains + (params.count + k) * channels + o, gain_minus);
    load(params.bias + o, bias);
    for (std::int64_t run = first + share.pixel; run < last; run += share.pixels) {
      const std::int64_t row = run / runs_a_row;
      const int begin = static_cast<int>(run - row * runs_a_row) * kRun;
      const int end = begin + kRun < side ? begin + kRun : side;
      const float* corner = plane + row * width;
      float window[3][3];
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        window[i][1] = corner[i * width + begin];
        window[i][2] = corner[i * width + begin + 1];
      }
      std::int64_t at = (row * side + begin) * channels + o;
      // Not unrolled: some targets would spill.
#pragma unroll 1
      for (int x = begin; x < end; ++x, at += channels) {
#pragma unroll
        for (int i = 0; i < 3; ++i) {
          window[i][0] = window[i][1];
          window[i][1] = window[i][2];
        }
#pragma unroll
        for (int i = 0; i < 3; ++i) window[i][2] = corner[i * width + x + 2];
        const float noise = params.noise == nullptr ? 0.0f : params.noise[row * side + x];
        float linear[N], raised[N], lowered[N];
        load(params.linear + at, linear);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          float v = 0;
#pragma unroll
          for (int tap = 0; tap < 9; ++tap) v += window[tap / 3][tap % 3] * taps[tap][i];
          const float offset = noise + bias[i];
          raised[i] = activated(gain_plus[i] * (linear[i] + step_plus * v) + offset, params.limit);
          lowered[i] = activated(gain_minus[i] * (linear[i] + step_minus * v) + offset, params.limit);
        }
        store(raised, plus + at);
        store(lowered, minus + at);
      }
    }
  }
}

template <typename T, int N>
cudaError_t launch_groups(const PerturbChannelsParams& params, cudaStream_t stream) {
  const std::int64_t runs_at_once = pixels_at_once(params.channels / N, kThreads);
  const std::int64_t runs_a_row = quotient_up(params.side, kRun);
  const std::int64_t runs = runs_a_row * params.side;
  const std::int64_t chunks = quotient_up(runs, runs_at_once * kRounds);
  if (chunks > kMaxBlocks / params.count) return cudaErrorInvalidValue;
  STYLECLIP_LAUNCH((perturb_channels_kernel<T, N>), static_cast<unsigned>(chunks * params.count), kThreads, stream,
                   params, static_cast<int>(runs_a_row), runs);
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch(const PerturbChannelsParams& params, cudaStream_t stream) {
  const std::int64_t channels = params.channels;
  const bool groups = in_groups<T, kGroup>(params.y, channels) && in_groups<float, kGroup>(params.taps, channels) &&
                      in_groups<float, kGroup>(params.linear, channels) &&
                      in_groups<float, kGroup>(params.gains, channels) &&
                      in_groups<float, kGroup>(params.bias, channels);
  return groups ? launch_groups<T, kGroup>(params, stream) : launch_groups<T, 1>(params, stream);
}

}  // namespace

cudaError_t launch_perturb_channels(const PerturbChannelsParams& params, cudaStream_t stream) {
  if (params.side > (1 << 30)) return cudaErrorInvalidValue;
  if (!countable({params.count, params.side, params.side, params.channels})) return cudaErrorInvalidValue;
  if (params.count == 0 || params.channels == 0 || params.side == 0) return cudaSuccess;
  return with_element(params.element, [&]<typename T>() { return launch<T>(params, stream); });
}

}  // namespace styleclip::cuda
