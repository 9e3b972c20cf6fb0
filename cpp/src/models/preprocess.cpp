// CLIP's preprocessing on tensors; see preprocess.h. The sizes and the crop are torchvision's (Resize, CenterCrop).
#include "models/preprocess.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "styleclip/models.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

struct Frame {
  std::int64_t height, width;  // after resizing: the shorter side is `size`
  std::int64_t top, left;      // of the crop
};

Frame frame_of(std::int64_t height, std::int64_t width, std::int64_t size) {
  const bool tall = height > width;
  const std::int64_t longer = size * std::max(height, width) / std::min(height, width);
  Frame frame{tall ? longer : size, tall ? size : longer, 0, 0};
  // Python's round(): halves go to the even number.
  frame.top = std::llrint(static_cast<double>(frame.height - size) / 2);
  frame.left = std::llrint(static_cast<double>(frame.width - size) / 2);
  return frame;
}

at::Tensor channel_values(const std::vector<double>& values, const at::Tensor& like) {
  return at::tensor(values, at::kFloat).to(like.device()).view({1, 3, 1, 1});
}

}  // namespace

at::Tensor preprocess_float(const at::Tensor& images, std::int64_t size, const std::vector<double>& mean,
                            const std::vector<double>& deviation) {
  at::Tensor x = images;
  if (x.size(2) != size || x.size(3) != size) {
    const Frame frame = frame_of(x.size(2), x.size(3), size);
    if (x.size(2) != frame.height || x.size(3) != frame.width) {
      x = at::_upsample_bicubic2d_aa(x, {frame.height, frame.width}, false);
    }
    x = x.narrow(2, frame.top, size).narrow(3, frame.left, size);
  }
  const at::Tensor middle = channel_values(mean, x), divisor = channel_values(deviation, x);
  const bool differentiable = at::GradMode::is_enabled() && x.requires_grad();
  if (x.scalar_type() == at::kFloat && !differentiable) {
    at::Tensor input = at::empty(x.sizes(), x.options(), at::MemoryFormat::Contiguous);
    clip_input(x, middle.flatten(), divisor.flatten(), 0, input);
    return input;
  }
  // (x / 2 + 1/2 - mean) / std, as one product and one sum.
  const at::Tensor scale = 0.5 / divisor;
  const at::Tensor offset = (0.5 - middle) / divisor;
  return x * scale + offset;
}

at::Tensor preprocess_reference8(const at::Tensor& images, std::int64_t size, const std::vector<double>& mean,
                                 const std::vector<double>& deviation) {
  const Frame frame = frame_of(images.size(2), images.size(3), size);
  at::Tensor pixels = pillow_bicubic(to_uint8_nhwc(images.detach()), frame.height, frame.width);
  pixels = pixels.narrow(1, frame.top, size).narrow(2, frame.left, size);
  const at::Tensor x = pixels.permute({0, 3, 1, 2}).to(at::kFloat).contiguous().div_(255);
  // 8 bits have no NaN: a broken picture would come out black and be embedded like any other.
  const at::Tensor finite = at::isfinite(images).flatten(1).all(1).view({-1, 1, 1, 1});
  const at::Tensor shown = at::where(finite, x, std::numeric_limits<float>::quiet_NaN());
  return (shown - channel_values(mean, x)) / channel_values(deviation, x);
}

}  // namespace styleclip
