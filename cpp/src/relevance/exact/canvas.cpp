// The matrices, made by sending unit vectors through the operations themselves, in float64.
#include "relevance/exact/canvas.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/conv_transpose1d.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>

namespace styleclip::exact {
namespace {

// [2 r, r]: up-sampling a line of r pixels by two (zero insertion, pads 2 and 1, as toRGB does).
at::Tensor up_matrix(const at::Tensor& line, std::int64_t r) {
  const at::Tensor unit = at::eye(r, at::kDouble).unsqueeze(1);
  return at::conv_transpose1d(unit, line.view({1, 1, 4}), {}, 2, 1).squeeze(1).t().contiguous();
}

// [size, r]: antialiased bicubic of a line of r pixels.
at::Tensor resize_matrix(std::int64_t r, std::int64_t size) {
  // Lines are the rows of a picture whose columns are all alike.
  const at::Tensor unit = at::eye(r, at::kDouble).view({1, r, r, 1}).expand({1, r, r, 8}).contiguous();
  return at::_upsample_bicubic2d_aa(unit, {size, 8}, false).select(3, 0)[0].t().contiguous();
}

}  // namespace

Canvas::Canvas(const Network& network, std::int64_t size) : size_(size), matrices_(network.to_rgbs.size()) {
  at::Tensor onward;  // from the resolution at hand to the canvas; undefined: the identity
  if (size != network.image_size) onward = resize_matrix(network.image_size, size);
  for (std::size_t i = network.to_rgbs.size(); i-- > 0;) {
    const ToRgb& to_rgb = network.to_rgbs[i];
    if (onward.defined()) matrices_[i] = onward.to(to_rgb.weight.device(), at::kFloat).contiguous();
    if (i == 0) break;
    const at::Tensor up = up_matrix(to_rgb.filter.to(at::kCPU, at::kDouble), network.to_rgbs[i - 1].resolution);
    onward = onward.defined() ? at::matmul(onward, up) : up;
  }
}

at::Tensor Canvas::spread(std::size_t index, const at::Tensor& planes) const {
  const at::Tensor& m = matrices_[index];
  if (!m.defined()) return planes;
  return at::matmul(at::matmul(m, planes), m.t());
}

}  // namespace styleclip::exact
