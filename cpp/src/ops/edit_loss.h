// The implementations of styleclip::edit_loss (schema and meaning: styleclip/ops.h). The operator below autograd computes
// the loss and, in the same pass, its gradients; the backward pass has nothing left but to scale them.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <tuple>

namespace styleclip {

inline constexpr char kEditLoss[] = "edit_loss";
inline constexpr char kEditLossSchema[] =
    "edit_loss(Tensor embedding, Tensor text, Tensor latents, Tensor source, Tensor? identity, Tensor? "
    "source_identity, float lambda_clip, float lambda_l2, float lambda_id, bool mean) -> (Tensor total, Tensor parts)";
using EditLossSignature = std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                             const at::Tensor&, const std::optional<at::Tensor>&,
                                                             const std::optional<at::Tensor>&, double, double, double,
                                                             bool);

inline constexpr char kEditLossGradients[] = "edit_loss_gradients";
inline constexpr char kEditLossGradientsSchema[] =
    "edit_loss_gradients(Tensor embedding, Tensor text, Tensor latents, Tensor source, Tensor? identity, Tensor? "
    "source_identity, float lambda_clip, float lambda_l2, float lambda_id, bool mean, bool[3] wanted) -> "
    "(Tensor total, Tensor parts, Tensor embedding, Tensor latents, Tensor identity)";
/// Which gradients are wanted: embedding, latents, identity. The others come back undefined.
using WantedOfLoss = std::array<bool, 3>;
using LossAndGradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using EditLossGradientsSignature = LossAndGradients(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                    const at::Tensor&, const std::optional<at::Tensor>&,
                                                    const std::optional<at::Tensor>&, double, double, double, bool,
                                                    WantedOfLoss);

/// Throws Error Shape, Argument or Range when the arguments do not fit one another. All tensors are of one type.
void check_edit_loss(const at::Tensor& embedding, const at::Tensor& text, const at::Tensor& latents,
                     const at::Tensor& source, const at::Tensor& identity, const at::Tensor& source_identity,
                     double lambda_clip, double lambda_l2, double lambda_id);

/// Plain tensor algebra in float64, on any device.
LossAndGradients edit_loss_gradients_reference(const at::Tensor& embedding, const at::Tensor& text,
                                               const at::Tensor& latents, const at::Tensor& source,
                                               const at::Tensor& identity, const at::Tensor& source_identity,
                                               double lambda_clip, double lambda_l2, double lambda_id, bool mean,
                                               WantedOfLoss wanted);
/// One pass, latents in parallel, sums in float64.
LossAndGradients edit_loss_gradients_cpu(const at::Tensor& embedding, const at::Tensor& text, const at::Tensor& latents,
                                         const at::Tensor& source, const at::Tensor& identity,
                                         const at::Tensor& source_identity, double lambda_clip, double lambda_l2,
                                         double lambda_id, bool mean, WantedOfLoss wanted);

}  // namespace styleclip
