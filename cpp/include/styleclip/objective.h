// The weights and conventions of the loss that edits by gradients minimise (StyleCLIP, arXiv 2103.17249, sections 4 and 5).
#pragma once

#include "styleclip/models.h"

namespace styleclip {

enum class ClipInput {
  Normalised,  // antialiased bicubic, mean and standard deviation: what CLIP was trained on
  Raw          // the released code: ×7 nearest and average pool, values in [-1, 1] as they come
};

struct ObjectiveOptions {
  double lambda_clip = 1;
  double lambda_l2 = 0;
  double lambda_id = 0;
  bool l2_mean = false;  // the mean over a latent's numbers (mapper) instead of their sum (optimiser)
  ClipInput clip_input = ClipInput::Normalised;
  NoiseMode noise = NoiseMode::Const;
};

}  // namespace styleclip
