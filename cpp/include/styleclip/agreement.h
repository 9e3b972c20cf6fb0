// How far two relevances of the same models agree: what a faster method, or another precision, is worth beside the exact one.
// The same measures as the TypeScript API's Relevance.agreement, and the same numbers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "styleclip/relevance.h"

namespace styleclip {

/// ε's multiple: a row whose mean |d| is below it is noise to more than about 1e-5 of its cosine.
inline constexpr double kResolvedEpsilons = 300;

struct AgreementOptions {
  /// Texts for which relevances and selected channels are compared: [d] of any length but 0, on any device.
  std::vector<at::Tensor> directions;
  /// Threshold on |r_c| of the selection, 0..1. None: for each text what the truth's automatic β is (global_direction, over
  /// all of the truth's rows).
  std::optional<double> beta;
  std::int64_t automatic_channels = 20;  // of the automatic β; 0 and above
  /// Noise ε of a unit embedding, 0..1: how far two orders of summation differ, measured by two batch sizes of one method. A
  /// row is resolved where the truth's mean |d| is at least 300 ε; with 0 every row is.
  double epsilon = 0;
};

/// Of one text. r_c = row_c · unit(text).
struct DirectionAgreement {
  double beta = 0;
  double pearson = 0;   // correlation of the relevances r_c of all compared channels; NaN where they do not vary
  double spearman = 0;  // the same of their ranks; equal numbers share the mean of their places
  std::int64_t expected = 0, selected = 0;  // channels with |r_c| >= β: in the truth; in the other table
  double recall = 1;  // share of the expected ones that are selected too; 1 where none is expected
};

struct Agreement {
  std::int64_t channels = 0;  // that both tables have
  std::int64_t still = 0;     // of them, those that move the embedding in neither table; they are not compared
  /// Of the rows of a channel, -1..1; a channel that moves in one table only counts as 0. Quantiles lie between neighbours
  /// in proportion.
  struct {
    double min = 0, p01 = 0, p10 = 0, median = 0, mean = 0;
  } cosine;
  /// |magnitude − truth's| / truth's, over the channels that move in both; NaN where there is none.
  struct {
    double median = 0, max = 0;
  } magnitude;
  struct {
    std::int64_t channels = 0;
    double min = 0;  // lowest cosine of a resolved row; NaN where there is none
  } resolved;
  std::vector<std::int64_t> unresolved;        // flat S indices, in the order of the table
  std::vector<DirectionAgreement> directions;  // one a text, in their order
};

/// How `rows` agrees with `truth`, over the channels that both have. Plain loops in float64 in a fixed order. That both are of
/// one generator and one CLIP is the caller's to know. Throws Shape for rows, tables or texts that do not fit; Range for
/// settings; Argument where both tables have no channel that moves; NotFinite for a text of length 0, and for NaN
/// or infinity in a text or a table; with an automatic β EmptySelection where the truth selects nothing.
Agreement agreement(const RelevanceRows& rows, const RelevanceRows& truth, const AgreementOptions& options = {});

}  // namespace styleclip
