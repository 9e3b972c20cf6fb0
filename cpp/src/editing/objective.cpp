// See objective.h.
#include "editing/objective.h"

#include <ATen/TensorOperators.h>

#include <cmath>
#include <string>
#include <utility>

#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

void require_weight(double value, const char* name) {
  if (std::isfinite(value) && value >= 0) return;
  throw Error(ErrorCode::Range, std::string(name) + " is " + std::to_string(value) + ".",
              "Give a finite number that is not negative.");
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
  synthesis_ = DifferentiableSynthesis::of(generator);
}

at::Tensor Objective::pictures(const at::Tensor& s) const {
  if (synthesis_ == nullptr || options_.noise == NoiseMode::Random) return generator_.synthesis(s, options_.noise);
  return synthesis_->pictures(s, options_.noise == NoiseMode::Const);
}

at::Tensor Objective::embedding(const at::Tensor& images) const {
  if (options_.clip_input == ClipInput::Raw) {
    return clip_.encode_image(clip_resample(images, clip_.image_size()));
  }
  return clip_.encode_image(clip_.preprocess(images, Preprocess::Float));
}

at::Tensor Objective::identity(const at::Tensor& images) const {
  return options_.lambda_id > 0 ? identity_->embed(images) : at::Tensor();
}

ObjectiveValue Objective::value(const at::Tensor& images, const at::Tensor& texts, const at::Tensor& latents,
                                const at::Tensor& source, const at::Tensor& source_identity) const {
  const bool with_identity = options_.lambda_id > 0;
  const EditLoss loss =
      edit_loss(embedding(images), texts, latents, source, with_identity ? identity(images) : at::Tensor(),
                with_identity ? source_identity : at::Tensor(), options_.lambda_clip, options_.lambda_l2,
                options_.lambda_id, options_.l2_mean);
  return {loss.total, loss.parts.select(1, 0), loss.parts.select(1, 1), loss.parts.select(1, 2)};
}

}  // namespace styleclip
