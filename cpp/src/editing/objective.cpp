// See objective.h.
#include "editing/objective.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr std::int64_t kPatch =
    32;  // SC:criteria/clip_loss.py: Upsample(7), AvgPool2d(stylegan_size // 32), 7 = 224 / 32

void require_weight(double value, const char* name) {
  if (std::isfinite(value) && value >= 0) return;
  throw Error(ErrorCode::Range, std::string(name) + " is " + std::to_string(value) + ".",
              "Give a finite number that is not negative.");
}

// rows [n, d] -> unit rows; a row of zeros stays one.
at::Tensor unit(const at::Tensor& rows) { return rows / rows.norm(2, -1, true).clamp_min(1e-12); }

at::Tensor released_resample(const at::Tensor& images, std::int64_t size) {
  const std::int64_t side = images.size(2);
  if (side % kPatch != 0 || size % kPatch != 0) {
    throw Error(
        ErrorCode::Argument,
        "The released code's CLIP input is defined for pictures and CLIP inputs of a multiple of 32 pixels, not " +
            std::to_string(side) + " and " + std::to_string(size) + ".",
        "Use the normalised input.");
  }
  const std::int64_t times = size / kPatch, window = side / kPatch;
  return at::avg_pool2d(at::upsample_nearest2d(images, {side * times, side * times}), {window, window});
}

}  // namespace

Objective::Objective(Generator& generator, Clip& clip, Identity* identity, ObjectiveOptions options)
    : generator_(generator), clip_(clip), identity_(identity), options_(options) {
  require_weight(options.lambda_clip, "lambda_clip");
  require_weight(options.lambda_l2, "lambda_l2");
  require_weight(options.lambda_id, "lambda_id");
  if (options.lambda_id > 0 && identity == nullptr) {
    throw Error(ErrorCode::Argument, "An identity loss without an identity network.",
                "Load one with the models, or set the identity's weight to 0.");
  }
}

at::Tensor Objective::pictures(const at::Tensor& s) const { return generator_.synthesis(s, options_.noise); }

at::Tensor Objective::embedding(const at::Tensor& images) const {
  if (options_.clip_input == ClipInput::Raw) {
    return clip_.encode_image(released_resample(images, clip_.image_size()));
  }
  return clip_.encode_image(clip_.preprocess(images, Preprocess::Float));
}

at::Tensor Objective::identity(const at::Tensor& images) const {
  return options_.lambda_id > 0 ? identity_->embed(images) : at::Tensor();
}

ObjectiveValue Objective::value(const at::Tensor& images, const at::Tensor& texts, const at::Tensor& latents,
                                const at::Tensor& source, const at::Tensor& source_identity) const {
  const at::Tensor embedded = unit(embedding(images));
  const at::Tensor aims = unit(texts);  // [t, d] or [n, t, d]
  const at::Tensor cosine =
      aims.dim() == 2 ? embedded.matmul(aims.t()).mean(1) : (aims * embedded.unsqueeze(1)).sum(2).mean(1);
  const at::Tensor change = (latents - source).flatten(1).square();
  ObjectiveValue value;
  const at::Tensor clip = 1 - cosine;
  const at::Tensor l2 = options_.l2_mean ? change.mean(1) : change.sum(1);
  value.total = options_.lambda_clip * clip + options_.lambda_l2 * l2;
  if (options_.lambda_id > 0) {
    const at::Tensor id = 1 - (identity(images) * source_identity).sum(1);
    value.total = value.total + options_.lambda_id * id;
    value.id = id.detach();
  } else {
    value.id = at::zeros(clip.sizes(), clip.options());
  }
  value.clip = clip.detach();
  value.l2 = l2.detach();
  return value;
}

}  // namespace styleclip
