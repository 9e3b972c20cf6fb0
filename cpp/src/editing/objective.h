// What an edit by gradients minimises, one number a latent: the optimiser and the mapper's training share it
// (StyleCLIP, arXiv 2103.17249, sections 4 and 5; SC:criteria/clip_loss.py, id_loss.py).
//
//   total = λ_clip D_CLIP(G(w), texts) + λ_L2 |w − w_s|² + λ_ID (1 − ⟨R(G(w)), R(G(w_s))⟩)
#pragma once

#include <ATen/core/Tensor.h>

#include "editing/synthesis.h"
#include "styleclip/objective.h"

namespace styleclip {

/// Each [n]. `total` carries the graph, the parts are unweighted and detached; `id` is zero without an identity network.
struct ObjectiveValue {
  at::Tensor total, clip, l2, id;
};

/// The models must outlive it. `identity` may be null where lambda_id is 0. Throws Argument for one that is missing, Range
/// for a negative or infinite λ.
class Objective {
 public:
  Objective(Generator& generator, Clip& clip, Identity* identity, ObjectiveOptions options);

  const ObjectiveOptions& options() const { return options_; }
  Generator& generator() const { return generator_; }

  /// S [n, total] -> pictures [n, 3, size, size] float32, with the graph where `s` asks for it.
  at::Tensor pictures(const at::Tensor& s) const;
  /// Pictures -> CLIP embedding [n, d], not normalised.
  at::Tensor embedding(const at::Tensor& images) const;
  /// Pictures -> unit identity [n, e]; undefined where λ_ID is 0.
  at::Tensor identity(const at::Tensor& images) const;
  /// texts [t, d] for all, or [n, t, d]; latents and source of one shape [n, …]; source_identity from identity().
  ObjectiveValue value(const at::Tensor& images, const at::Tensor& texts, const at::Tensor& latents,
                       const at::Tensor& source, const at::Tensor& source_identity) const;

 private:
  Generator& generator_;
  Clip& clip_;
  Identity* identity_;
  ObjectiveOptions options_;
  std::unique_ptr<DifferentiableSynthesis> synthesis_;  // null: the generator's own
};

}  // namespace styleclip
