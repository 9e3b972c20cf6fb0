// The loss of an edit with all its gradients. Two steps: what the embeddings aim at, the mean of the texts' unit vectors (and
// the source's unit identity), once; then a block a latent, which sums what the three parts need and writes the gradients.
// Sums are float64 and in one order: there are some ten thousand numbers a latent, and launches, not arithmetic, take the
// time. In this way there are three launches instead of the forty or so of the plain composition.
#include "edit_loss.h"

#include "elements.h"
#include "warps.h"

namespace styleclip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

/// The sum over the block, to every thread.
__device__ __forceinline__ double sum_of_block(double value, double (&memory)[kWarps]) {
  value = sum_of_warp(value);
  __syncthreads();  // the memory may still be read
  if (threadIdx.x % kWarp == 0) memory[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) value += memory[i];
  return value;
}

/// aims [blocks, dim]: of each block the mean of the unit vectors of its `count` rows. Zero-length rows add none.
__global__ void __launch_bounds__(kThreads)
    edit_loss_aims_kernel(const float* rows, std::int64_t count, std::int64_t dim, double* aims) {
  STYLECLIP_SHARED(double, scales, [kWarps]);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  rows += blockIdx.x * count * dim;
  aims += blockIdx.x * dim;
  for (std::int64_t at = threadIdx.x; at < dim; at += kThreads) aims[at] = 0;
  // As many rows at once as there are warps: a warp measures one, then every thread adds its numbers of all of them.
  for (std::int64_t first = 0; first < count; first += kWarps) {
    double sum = 0;
    if (first + warp < count) {
      const float* row = rows + (first + warp) * dim;
      for (std::int64_t at = lane; at < dim; at += kWarp) sum += static_cast<double>(row[at]) * row[at];
    }
    sum = sum_of_warp(sum);
    __syncthreads();
    if (lane == 0) scales[warp] = sum == 0 ? 0 : 1 / (sqrt(sum) * static_cast<double>(count));
    __syncthreads();
    for (std::int64_t at = threadIdx.x; at < dim; at += kThreads) {
      double aim = aims[at];
      for (int i = 0; i < kWarps && first + i < count; ++i) aim += scales[i] * rows[(first + i) * dim + at];
      aims[at] = aim;
    }
  }
}

/// 1 − ⟨x / |x|, aim⟩, and lambda times its gradient; 1 and none for a vector of zeros.
__device__ __forceinline__ double distance(const float* x, const double* aim, std::int64_t dim, double lambda,
                                           float* to, double (&memory)[kWarps]) {
  double square = 0, product = 0;
  for (std::int64_t at = threadIdx.x; at < dim; at += kThreads) {
    const double value = x[at];
    square += value * value;
    product += value * aim[at];
  }
  const double length = sqrt(sum_of_block(square, memory));
  product = sum_of_block(product, memory);
  const double cosine = length == 0 ? 0 : product / length;
  if (to != nullptr) {
    const double along = length == 0 ? 0 : cosine / length, scale = length == 0 ? 0 : lambda / length;
    for (std::int64_t at = threadIdx.x; at < dim; at += kThreads) {
      to[at] = length == 0 ? 0.0f : static_cast<float>(scale * (along * x[at] - aim[at]));
    }
  }
  return 1 - cosine;
}

__global__ void __launch_bounds__(kThreads) edit_loss_kernel(const EditLossParams params) {
  STYLECLIP_SHARED(double, memory, [kWarps]);
  const std::int64_t n = blockIdx.x;
  const auto row = [n](float* memory_of, std::int64_t width) {
    return memory_of == nullptr ? nullptr : memory_of + n * width;
  };
  const double clip = distance(params.embedding + n * params.dim, params.aims + (params.text_each ? n * params.dim : 0),
                               params.dim, params.lambda_clip, row(params.to_embedding, params.dim), memory);
  double id = 0;
  if (params.identity != nullptr) {
    id = distance(params.identity + n * params.faces, params.face_aims + n * params.faces, params.faces,
                  params.lambda_id, row(params.to_identity, params.faces), memory);
  }
  const float* latents = params.latents + n * params.numbers;
  const float* source = params.source + n * params.numbers;
  float* to_latents = row(params.to_latents, params.numbers);
  const double factor = 2 * params.share * params.lambda_l2;
  double square = 0;
  for (std::int64_t at = threadIdx.x; at < params.numbers; at += kThreads) {
    const double change = static_cast<double>(latents[at]) - static_cast<double>(source[at]);
    square += change * change;
    if (to_latents != nullptr) to_latents[at] = static_cast<float>(factor * change);
  }
  const double l2 = params.share * sum_of_block(square, memory);
  if (threadIdx.x > 0) return;
  float* parts = params.parts + 3 * n;
  parts[0] = static_cast<float>(clip);
  parts[1] = static_cast<float>(l2);
  parts[2] = static_cast<float>(id);
  // A weight of zero leaves a part out, even one that is not finite.
  double total = 0;
  if (params.lambda_clip > 0) total += params.lambda_clip * clip;
  if (params.lambda_l2 > 0) total += params.lambda_l2 * l2;
  if (params.lambda_id > 0) total += params.lambda_id * id;
  params.total[n] = static_cast<float>(total);
}

}  // namespace

cudaError_t launch_edit_loss(const EditLossParams& params, cudaStream_t stream) {
  if (params.n > kMaxBlocks || params.dim < 1 || params.texts < 1 || params.numbers < 1 ||
      (params.identity != nullptr && params.faces < 1)) {
    return cudaErrorInvalidValue;
  }
  if (!countable({params.n, params.texts, params.dim}) || !countable({params.n, params.numbers}) ||
      !countable({params.n, params.faces})) {
    return cudaErrorInvalidValue;
  }
  if (params.n == 0) return cudaSuccess;
  const std::int64_t aims = params.text_each ? params.n : 1;
  STYLECLIP_LAUNCH(edit_loss_aims_kernel, static_cast<unsigned>(aims), kThreads, stream, params.text, params.texts,
                   params.dim, params.aims);
  cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) return error;
  if (params.identity != nullptr) {
    STYLECLIP_LAUNCH(edit_loss_aims_kernel, static_cast<unsigned>(params.n), kThreads, stream, params.source_identity,
                     std::int64_t{1}, params.faces, params.face_aims);
    error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  STYLECLIP_LAUNCH(edit_loss_kernel, static_cast<unsigned>(params.n), kThreads, stream, params);
  return cudaGetLastError();
}

}  // namespace styleclip::cuda
