// How far two ways of sweeping are apart, in the measure that the result itself is uncertain by.
#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json.hpp>
#include <string>

#include "styleclip/relevance.h"

namespace styleclip::bench {

/// ε, the noise of a difference of embeddings: the root mean square, over channels and pictures, of how far the
/// differences [channels, pictures, dim] of two orders of summation are apart; 2⁻²⁴ where that is less.
double noise_of(const at::Tensor& differences, const at::Tensor& others);

/// Of differences [channels, pictures, dim] to the truth's:
///   meanDifference   the largest distance of a channel's mean difference, and in units of ε
///   cosine           of rows (the normalised sum of unit differences): the lowest among the resolved ones (median |d| at
///                    least 300 ε), how many are resolved and how many are not, the lowest and the median of all
///   relevance        per direction [prompts, dim] of unit length, undefined for none: Pearson and Spearman correlation of
///                    rows · direction, and the recall of the channels that the truth selects at the β that leaves about
///                    `survivors` of them: lowest and median over the directions
nlohmann::ordered_json agreement(const at::Tensor& differences, const at::Tensor& truth, double noise,
                                 const at::Tensor& directions, std::int64_t survivors);

/// Why numbers that agree like this must not be timed; empty when they may. Float32 has to agree within 4 ε in every mean
/// difference, and within 1e-5 in the cosine of every resolved row; lower precisions report what they do, and are wrong
/// when half of their rows are off by more than 1e-2.
std::string disagreement(const nlohmann::ordered_json& agreement, Precision precision);

}  // namespace styleclip::bench
