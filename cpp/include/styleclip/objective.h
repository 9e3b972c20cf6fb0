// The weights and conventions of the loss that edits by gradients minimise (StyleCLIP, arXiv 2103.17249, sections 4 and 5).
#pragma once

#include "styleclip/models.h"

namespace styleclip {

enum class ClipInput {
  Normalised,  // antialiased bicubic, mean and standard deviation: what CLIP was trained on
  Raw          // the released code: ×7 nearest and average pool, values in [-1, 1] as they come
};

/// total = lambda_clip (1 − cos(CLIP(G(x)), text)) + lambda_l2 |x − source|² + lambda_id (1 − cos of identities); weights are
/// finite and not negative, and lambda_id above 0 needs an identity network.
struct ObjectiveOptions {
  double lambda_clip = 1;
  double lambda_l2 = 0;  // the released optimiser's is 0.008 with a sum, the released mapper's 0.8 with a mean
  double lambda_id = 0;
  bool l2_mean = false;  // the mean over a latent's numbers (mapper) instead of their sum (optimiser)
  ClipInput clip_input = ClipInput::Normalised;
  NoiseMode noise = NoiseMode::Const;
};

}  // namespace styleclip
