// What every sweep starts from, whatever its method: the sample pictures' S codes, the channels, and the two values
// that each channel takes in each picture. Checked once, here.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "styleclip/relevance.h"

namespace styleclip {

struct SweepInputs {
  at::Tensor base;                     // [images, total] float32, the sample pictures' own S; never written to
  std::vector<std::int64_t> channels;  // [n] flat indices into S, ascending
  at::Tensor plus, minus;              // [n, images] float32: what channels[i] becomes in picture m
  // Positions in `channels` whose two values differ in some picture. The others (σ = 0) would render every picture
  // twice the same: their difference is zero without rendering.
  std::vector<std::int64_t> moving;
};

/// Draws the base codes and computes both values: mean_c ± k σ_c (Absolute) or s_c ± k σ_c (Relative).
/// Throws Range, Shape, Argument and NotFinite for settings and statistics that make no sense.
SweepInputs make_sweep_inputs(Generator& generator, const StyleStatistics& statistics, const SweepOptions& options,
                              const RunContext& run);

/// S codes [count, total] of samples first, first + 1, …
at::Tensor sample_styles(Generator& generator, std::int64_t count, std::int64_t first, const SampleSettings& settings);
/// Throws Range when psi is not finite.
void check_sample_settings(const SampleSettings& settings);
/// values [total] or [n, total]. Throws NotFinite: "The mean of b8.conv1 channel 3 is not a finite number."
void check_finite_styles(const StyleLayout& layout, const at::Tensor& values, const std::string& what);
/// "b8.conv1 channel 3" of a flat index.
std::string channel_name(const StyleLayout& layout, std::int64_t channel);

}  // namespace styleclip
