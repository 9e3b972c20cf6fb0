// The readable implementation of edit_loss, the check that all of them share, and the call of the operator.
#include "ops/edit_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "ops/differentiable.h"
#include "ops/registry.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void require_weight(double value, const char* name) {
  if (std::isfinite(value) && value >= 0) return;
  throw Error(ErrorCode::Range, std::string(kEditLoss) + ": " + name + " is " + std::to_string(value) + ".",
              "Give a finite number that is not negative.");
}

/// Rows of length one; a row of zeros stays one. And the lengths, one where a row is zero.
std::pair<at::Tensor, at::Tensor> unit(const at::Tensor& rows) {
  const at::Tensor length = rows.square().sum(-1, true).sqrt();
  const at::Tensor divisor = at::where(length == 0, 1.0, length);
  return {rows / divisor, divisor};
}

/// 1 − ⟨x̂, aim⟩ and its gradient to x, rows [n, d]: −(aim − ⟨x̂, aim⟩ x̂) / |x|. Of a row of zeros 1 and no gradient.
std::pair<at::Tensor, at::Tensor> distance(const at::Tensor& x, const at::Tensor& aim) {
  const auto [direction, length] = unit(x);
  const at::Tensor cosine = (direction * aim).sum(1, true);
  const at::Tensor gradient = (cosine * direction - aim) / length;
  const at::Tensor none = x.square().sum(1, true) == 0;
  return {1 - cosine.squeeze(1), at::where(none, 0.0, gradient)};
}

LossAndGradients gradients_below(const at::Tensor& embedding, const at::Tensor& text, const at::Tensor& latents,
                                 const at::Tensor& source, const at::Tensor& identity,
                                 const at::Tensor& source_identity, double lambda_clip, double lambda_l2,
                                 double lambda_id, bool mean, WantedOfLoss wanted) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  if (runs_reference(kEditLoss, embedding)) {
    return edit_loss_gradients_reference(embedding, text, latents, source, identity, source_identity, lambda_clip,
                                         lambda_l2, lambda_id, mean, wanted);
  }
  static const auto op = find_operator(kEditLossGradients).typed<EditLossGradientsSignature>();
  return op.call(embedding, text, latents, source, optional(identity), optional(source_identity), lambda_clip,
                 lambda_l2, lambda_id, mean, wanted);
}

struct EditLossNode : torch::autograd::Function<EditLossNode> {
  static variable_list forward(AutogradContext* context, const at::Tensor& embedding, const at::Tensor& latents,
                               const std::optional<at::Tensor>& identity, const at::Tensor& text,
                               const at::Tensor& source, const std::optional<at::Tensor>& source_identity,
                               double lambda_clip, double lambda_l2, double lambda_id, bool mean) {
    const at::Tensor face = plain_tensor(identity);
    const WantedOfLoss wanted = {embedding.requires_grad(), latents.requires_grad(), wants_gradient(face)};
    const auto [total, parts, to_embedding, to_latents, to_identity] =
        gradients_below(embedding, text, latents, source, face, plain_tensor(source_identity), lambda_clip, lambda_l2,
                        lambda_id, mean, wanted);
    context->save_for_backward({to_embedding, to_latents, to_identity});
    context->mark_non_differentiable({parts});
    context->set_materialize_grads(false);
    return {total, parts};
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    require_first_derivative(kEditLoss);
    const variable_list saved = context->get_saved_variables();
    variable_list all(10);
    for (std::size_t i = 0; i < 3; ++i) {
      if (!saved[i].defined() || !gradients[0].defined()) continue;
      std::vector<std::int64_t> shape(static_cast<std::size_t>(saved[i].dim()), 1);
      shape[0] = saved[i].size(0);
      all[i] = saved[i] * gradients[0].view(shape);
    }
    return all;
  }
};

}  // namespace

void check_edit_loss(const at::Tensor& embedding, const at::Tensor& text, const at::Tensor& latents,
                     const at::Tensor& source, const at::Tensor& identity, const at::Tensor& source_identity,
                     double lambda_clip, double lambda_l2, double lambda_id) {
  DifferentiableArguments arguments(kEditLoss);
  arguments.first("embedding", embedding, 2, "[n, d]");
  const std::int64_t n = embedding.size(0), d = embedding.size(1);
  if (d == 0) arguments.refuse_shape("embedding has no numbers.");
  if (!text.defined() || text.dim() < 2 || text.dim() > 3)
    arguments.refuse_shape("text is neither [t, d] nor [n, t, d].");
  const std::int64_t texts = text.size(-2);
  if (texts == 0) arguments.refuse_shape("there is no text.");
  if (text.dim() == 2) {
    arguments.alike("text", text, {texts, d});
  } else {
    arguments.alike("text", text, {n, texts, d});
  }
  if (!latents.defined() || latents.dim() < 2 || latents.size(0) != n) {
    arguments.refuse_shape("latents are not [n, ...] with the embeddings' n, " + std::to_string(n) + ".");
  }
  for (std::int64_t i = 1; i < latents.dim(); ++i) {
    if (latents.size(i) == 0) arguments.refuse_shape("a latent has no numbers.");
  }
  arguments.alike("latents", latents, latents.sizes());
  arguments.alike("source", source, latents.sizes());
  if (identity.defined() != source_identity.defined()) {
    arguments.refuse("identity and source_identity are given together or not at all.");
  }
  if (identity.defined()) {
    if (identity.dim() != 2 || identity.size(0) != n || identity.size(1) == 0) {
      arguments.refuse_shape("identity is not [n, e] with the embeddings' n, " + std::to_string(n) + ".");
    }
    arguments.alike("identity", identity, identity.sizes());
    arguments.alike("source_identity", source_identity, identity.sizes());
  }
  require_weight(lambda_clip, "lambda_clip");
  require_weight(lambda_l2, "lambda_l2");
  require_weight(lambda_id, "lambda_id");
  if (lambda_id > 0 && !identity.defined()) arguments.refuse("lambda_id is above zero, but there is no identity.");
}

LossAndGradients edit_loss_gradients_reference(const at::Tensor& embedding, const at::Tensor& text,
                                               const at::Tensor& latents, const at::Tensor& source,
                                               const at::Tensor& identity, const at::Tensor& source_identity,
                                               double lambda_clip, double lambda_l2, double lambda_id, bool mean,
                                               WantedOfLoss wanted) {
  check_edit_loss(embedding, text, latents, source, identity, source_identity, lambda_clip, lambda_l2, lambda_id);
  const at::ScalarType type = embedding.scalar_type();
  const auto weighted = [&](double lambda, const at::Tensor& gradient) { return (lambda * gradient).to(type); };
  at::Tensor to_embedding, to_latents, to_identity;

  // The mean over the texts of 1 − cos is 1 less the product with the texts' mean.
  const at::Tensor aim = unit(text.to(at::kDouble)).first.mean(-2);
  const auto [clip, clip_gradient] = distance(embedding.to(at::kDouble), aim);
  if (wanted[0]) to_embedding = weighted(lambda_clip, clip_gradient);

  const at::Tensor change = latents.to(at::kDouble) - source.to(at::kDouble);
  const at::Tensor rows = change.flatten(1);
  const double share = mean ? 1 / static_cast<double>(rows.size(1)) : 1;
  const at::Tensor l2 = share * rows.square().sum(1);
  if (wanted[1]) to_latents = weighted(2 * share * lambda_l2, change);

  at::Tensor id = at::zeros_like(clip);
  if (identity.defined()) {
    const auto [apart, gradient] = distance(identity.to(at::kDouble), unit(source_identity.to(at::kDouble)).first);
    id = apart;
    if (wanted[2]) to_identity = weighted(lambda_id, gradient);
  }

  // A weight of zero leaves a part out, even one that is not finite.
  at::Tensor total = at::zeros_like(clip);
  if (lambda_clip > 0) total = total + lambda_clip * clip;
  if (lambda_l2 > 0) total = total + lambda_l2 * l2;
  if (lambda_id > 0) total = total + lambda_id * id;
  return {total.to(type), at::stack({clip, l2, id}, 1).to(type), to_embedding, to_latents, to_identity};
}

EditLoss edit_loss(const at::Tensor& embedding, const at::Tensor& text, const at::Tensor& latents,
                   const at::Tensor& source, const at::Tensor& identity, const at::Tensor& source_identity,
                   double lambda_clip, double lambda_l2, double lambda_id, bool mean) {
  // All in float64 where one of them is, else in float32; conversions carry the gradients back.
  at::ScalarType type = at::kFloat;
  for (const at::Tensor* one : {&embedding, &text, &latents, &source, &identity, &source_identity}) {
    if (one->defined() && one->scalar_type() == at::kDouble) type = at::kDouble;
  }
  const auto converted = [&](const at::Tensor& tensor) {
    return tensor.defined() && at::isFloatingType(tensor.scalar_type()) ? tensor.to(type) : tensor;
  };
  const at::Tensor e = converted(embedding), t = converted(text), w = converted(latents), s = converted(source),
                   i = converted(identity), j = converted(source_identity);
  check_edit_loss(e, t, w, s, i, j, lambda_clip, lambda_l2, lambda_id);
  DifferentiableArguments::constant(kEditLoss, "text", text);
  DifferentiableArguments::constant(kEditLoss, "source", source);
  DifferentiableArguments::constant(kEditLoss, "source_identity", source_identity);
  if (records_gradient({&e, &w, &i})) {
    const variable_list both =
        EditLossNode::apply(e, w, optional(i), t, s, optional(j), lambda_clip, lambda_l2, lambda_id, mean);
    return {both[0], both[1]};
  }
  const LossAndGradients all =
      gradients_below(e, t, w, s, i, j, lambda_clip, lambda_l2, lambda_id, mean, {false, false, false});
  return {std::get<0>(all), std::get<1>(all)};
}

}  // namespace styleclip
