// The readable implementation of clip_input, the check that all of them share, and the call of the operator.
#include "ops/clip_input.h"

#include <ATen/TensorOperators.h>

#include <vector>

#include "ops/arguments.h"
#include "ops/registry.h"
#include "styleclip/ops.h"

namespace styleclip {

void check_clip_input(const at::Tensor& canvas, const at::Tensor& mean, const at::Tensor& deviation, std::int64_t patch,
                      const at::Tensor& out) {
  const Arguments arguments(kClipInput);
  if (!canvas.defined() || canvas.dim() != 4) arguments.refuse_shape("canvas is not [n, 3, size, size].");
  const std::int64_t n = canvas.size(0);
  const std::int64_t size = canvas.size(2);
  arguments.floats("canvas", canvas, {n, 3, size, size});
  arguments.floats("mean", mean, {3});
  arguments.floats("deviation", deviation, {3});
  if (patch < 0) arguments.refuse("patch is below zero.");
  if (patch > 0 && size % patch != 0) arguments.refuse_shape("size is not a multiple of patch.");
  const std::int64_t across = patch > 0 ? size / patch : 0;
  const std::vector<std::int64_t> patches = {n, across * across, 3 * patch * patch};
  const bool fits = out.defined() && out.sizes() == (patch > 0 ? at::IntArrayRef(patches) : canvas.sizes());
  if (!fits) arguments.refuse_shape("out is neither the canvas's shape nor [n, (size / patch)², 3 patch²].");
  const at::ScalarType type = out.scalar_type();
  if (type != at::kFloat && type != at::kHalf && type != at::kBFloat16) {
    arguments.refuse("out is neither float32 nor float16 nor bfloat16.");
  }
  if (!out.is_contiguous()) arguments.refuse("out has gaps or another order in memory.");
  for (const at::Tensor* one : {&mean, &deviation, &out}) {
    if (one->device() != canvas.device()) arguments.refuse("the arguments are on different devices.");
  }
}

void clip_input_reference(const at::Tensor& canvas, const at::Tensor& mean, const at::Tensor& deviation,
                          std::int64_t patch, at::Tensor& out) {
  check_clip_input(canvas, mean, deviation, patch, out);
  const auto per_color = [](const at::Tensor& x) { return x.to(at::kDouble).view({1, 3, 1, 1}); };
  const at::Tensor picture = ((canvas.to(at::kDouble) + 1) / 2 - per_color(mean)) / per_color(deviation);
  if (patch == 0) {
    out.copy_(picture);
    return;
  }
  const std::int64_t across = canvas.size(2) / patch;
  out.copy_(picture.reshape({canvas.size(0), 3, across, patch, across, patch})
                .permute({0, 2, 4, 1, 3, 5})
                .reshape(out.sizes()));
}

void clip_input(const at::Tensor& canvas, const at::Tensor& mean, const at::Tensor& deviation, std::int64_t patch,
                at::Tensor& out) {
  if (use_reference(kClipInput, canvas)) {
    return clip_input_reference(canvas, mean, deviation, patch, out);
  }
  static const auto op = find_operator(kClipInput).typed<ClipInputSignature>();
  op.call(canvas, mean, deviation, patch, out);
}

}  // namespace styleclip
