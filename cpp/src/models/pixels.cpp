// Between a generator's floats and 8-bit pictures.
#include "styleclip/error.h"

#include <ATen/TensorOperators.h>
#include "styleclip/models.h"

#include "models/tensors.h"

namespace styleclip {

at::Tensor to_uint8_nhwc(const at::Tensor& images) {
  if (!images.defined() || images.dim() != 4 || images.size(1) != 3 || !images.is_floating_point()) {
    throw Error(ErrorCode::Shape, "Images have shape " + (images.defined() ? shape_text(images.sizes()) : "none") + ".",
                "Give float images of shape [n, 3, height, width].");
  }
  const at::Tensor scaled = images.detach().to(at::kFloat).permute({0, 2, 3, 1}) * 127.5 + 128;
  return scaled.clamp(0, 255).to(at::kByte).contiguous();
}

at::Tensor from_uint8_nhwc(const at::Tensor& pixels) {
  if (!pixels.defined() || pixels.dim() != 4 || pixels.size(3) != 3 || pixels.scalar_type() != at::kByte) {
    throw Error(ErrorCode::Shape, "Pixels have shape " + (pixels.defined() ? shape_text(pixels.sizes()) : "none") + ".",
                "Give 8-bit pixels of shape [n, height, width, 3].");
  }
  return pixels.permute({0, 3, 1, 2}).to(at::kFloat).contiguous() / 127.5 - 1;
}

}  // namespace styleclip
