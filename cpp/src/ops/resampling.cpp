// The matrices of resampling.h, and the operators made of them. A matrix is made once for each size, device and type: the
// optimiser asks for the same few hundreds of times, and a copy to a GPU waits for it.
#include "styleclip/resampling.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "ops/differentiable.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

constexpr std::int64_t kPatch = 32;                    // SC:criteria/clip_loss.py
constexpr std::int64_t kAligned = 256, kFace = 188;    // SC:criteria/id_loss.py
constexpr std::int64_t kFaceTop = 35, kFaceLeft = 32;  // the same
constexpr std::array<double, 4> kFilter = {0.25, 0.75, 0.75,
                                           0.25};  // [1, 3, 3, 1] / 8, twice: the gain of one direction

void require_size(const char* what, std::int64_t size) {
  if (size > 0) return;
  throw Error(ErrorCode::Range, std::string(what) + " is " + std::to_string(size) + ".", "Give a number of pixels.");
}

void require_patches(const char* what, std::int64_t size) {
  require_size(what, size);
  if (size % kPatch == 0) return;
  throw Error(ErrorCode::Range,
              std::string(what) + " is " + std::to_string(size) +
                  ", not a multiple of 32: the released code's CLIP input "
                  "is not defined for it.",
              "Use the bicubic one.");
}

// a = -0.5, as Pillow and torch's antialiased kernels have it.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

enum class Kind { kClip, kBicubic, kFaceRows, kFaceColumns, kUpsample };
using Key = std::tuple<Kind, std::int64_t, std::int64_t, std::string, at::ScalarType>;

// Of `images`' device and companion type. Never destroyed: the last tensors may be a GPU's, whose driver is gone by then.
at::Tensor kept(Kind kind, std::int64_t from, std::int64_t to, const at::Tensor& images,
                const std::function<at::Tensor()>& make) {
  static auto* const mutex = new std::mutex();
  static auto* const matrices = new std::map<Key, at::Tensor>();
  constexpr std::size_t kMost = 64;  // some 64 MB
  const at::ScalarType type = companion_type(images.scalar_type());
  const Key key{kind, from, to, images.device().str(), type};
  const std::lock_guard lock(*mutex);
  const auto found = matrices->find(key);
  if (found != matrices->end()) return found->second;
  const c10::InferenceMode usable_in_a_graph(false);
  const at::NoGradGuard constant;
  at::Tensor matrix = make().to(images.device(), type);
  if (matrices->size() >= kMost) matrices->clear();
  matrices->emplace(key, matrix);
  return matrix;
}

void require_pictures(const char* op, const at::Tensor& images) {
  DifferentiableArguments arguments(op);
  arguments.first("images", images, 4, "[n, c, h, w]");
}

}  // namespace

at::Tensor clip_resample_matrix(std::int64_t size, std::int64_t clip_size) {
  require_patches("The picture's size", size);
  require_patches("CLIP's input size", clip_size);
  const std::int64_t times = clip_size / kPatch, window = size / kPatch;
  at::Tensor matrix = at::zeros({clip_size, size}, at::kDouble);
  auto at = matrix.accessor<double, 2>();
  const double weight = 1 / static_cast<double>(window);
  for (std::int64_t row = 0; row < clip_size; ++row) {
    for (std::int64_t i = row * window; i < (row + 1) * window; ++i) at[row][i / times] += weight;
  }
  return matrix;
}

at::Tensor bicubic_matrix(std::int64_t from, std::int64_t to) {
  require_size("The picture's size", from);
  require_size("The size asked for", to);
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(scale, 1.0), support = 2 * stretch;
  at::Tensor matrix = at::zeros({to, from}, at::kDouble);
  auto at = matrix.accessor<double, 2>();
  for (std::int64_t row = 0; row < to; ++row) {
    const double center = scale * (static_cast<double>(row) + 0.5);
    const double begin = center - support + 0.5, end = center + support + 0.5;  // truncated, as theirs
    const std::int64_t first = std::max<std::int64_t>(static_cast<std::int64_t>(begin), 0);
    const std::int64_t last = std::min(static_cast<std::int64_t>(end), from);
    double sum = 0;
    for (std::int64_t i = first; i < last; ++i) {
      at[row][i] = cubic((static_cast<double>(i) - center + 0.5) / stretch);
      sum += at[row][i];
    }
    for (std::int64_t i = first; i < last; ++i) at[row][i] /= sum;
  }
  return matrix;
}

at::Tensor pool_matrix(std::int64_t from, std::int64_t to) {
  require_size("The picture's size", from);
  require_size("The size asked for", to);
  at::Tensor matrix = at::zeros({to, from}, at::kDouble);
  auto at = matrix.accessor<double, 2>();
  for (std::int64_t row = 0; row < to; ++row) {
    const std::int64_t first = row * from / to, last = ((row + 1) * from + to - 1) / to;
    for (std::int64_t i = first; i < last; ++i) at[row][i] = 1 / static_cast<double>(last - first);
  }
  return matrix;
}

std::pair<at::Tensor, at::Tensor> face_crop_matrix(std::int64_t height, std::int64_t width, std::int64_t out) {
  const at::Tensor end = pool_matrix(kFace, out);
  return {at::matmul(end, pool_matrix(height, kAligned).narrow(0, kFaceTop, kFace)),
          at::matmul(end, pool_matrix(width, kAligned).narrow(0, kFaceLeft, kFace))};
}

at::Tensor upsample_matrix(std::int64_t r) {
  require_size("The picture's size", r);
  at::Tensor matrix = at::zeros({2 * r, r}, at::kDouble);
  auto at = matrix.accessor<double, 2>();
  for (std::int64_t row = 0; row < 2 * r; ++row) {
    for (std::int64_t tap = row % 2; tap < 4; tap += 2) {
      const std::int64_t from = (row + tap - 2) / 2;
      if (row + tap >= 2 && from < r) at[row][from] = kFilter[static_cast<std::size_t>(tap)];
    }
  }
  return matrix;
}

at::Tensor clip_resample(const at::Tensor& images, std::int64_t clip_size) {
  require_pictures("clip_resample", images);
  const auto matrix = [&](std::int64_t size) {
    return kept(Kind::kClip, size, clip_size, images, [&] { return clip_resample_matrix(size, clip_size); });
  };
  return resample(images, matrix(images.size(2)), matrix(images.size(3)));
}

at::Tensor bicubic_resample(const at::Tensor& images, std::int64_t height, std::int64_t width) {
  require_pictures("bicubic_resample", images);
  const auto matrix = [&](std::int64_t from, std::int64_t to) {
    return kept(Kind::kBicubic, from, to, images, [&] { return bicubic_matrix(from, to); });
  };
  return resample(images, matrix(images.size(2), height), matrix(images.size(3), width));
}

at::Tensor face_crop_resample(const at::Tensor& images, std::int64_t out) {
  require_pictures("face_crop_resample", images);
  const std::int64_t height = images.size(2), width = images.size(3);
  const at::Tensor vertical =
      kept(Kind::kFaceRows, height, out, images, [&] { return face_crop_matrix(height, height, out).first; });
  const at::Tensor horizontal =
      kept(Kind::kFaceColumns, width, out, images, [&] { return face_crop_matrix(width, width, out).second; });
  return resample(images, vertical, horizontal);
}

at::Tensor upsample_picture(const at::Tensor& images) {
  require_pictures("upsample_picture", images);
  const auto matrix = [&](std::int64_t r) {
    return kept(Kind::kUpsample, r, 2 * r, images, [&] { return upsample_matrix(r); });
  };
  return resample(images, matrix(images.size(2)), matrix(images.size(3)));
}

}  // namespace styleclip
