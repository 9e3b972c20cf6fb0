// How far two ways of sweeping are apart, in the measure that the result itself is uncertain by.
#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "styleclip/relevance.h"

namespace styleclip::bench {

/// The root mean square, over channels and pictures, of how far differences [channels, pictures, dim] are apart.
double distance(const at::Tensor& differences, const at::Tensor& others);

/// ε, the noise of a difference of embeddings: the distance of two orders of summation; 2⁻²⁴ where that is less.
double noise_of(const at::Tensor& differences, const at::Tensor& others);

/// Of differences [channels, pictures, dim] to the truth's:
///   distance         as above
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
/// when half of their rows are off by more than 1e-2, unless plain libtorch in that precision is as far off: `plain` is its
/// distance where it was measured, and twice that is allowed.
std::string disagreement(const nlohmann::ordered_json& agreement, Precision precision,
                         std::optional<double> plain = std::nullopt);

}  // namespace styleclip::bench
