// The mean of w of a decoder beside an encoder, for files that lack `latent_avg`: e4e's and pSp's code computes it from the
// decoder then, too.
#pragma once

#include "importing/importer.h"

namespace styleclip::importing {

inline constexpr std::int64_t kMeanSamples = 4096;  // as make_archive takes for a generator without an average

/// [style width] from `style.*` under rosinality's names, over samples 0 .. kMeanSamples - 1 of seed 0. Throws
/// ModelMismatch where there is no mapping network.
at::Tensor mean_of_w(const TensorMap& decoder);

}  // namespace styleclip::importing
