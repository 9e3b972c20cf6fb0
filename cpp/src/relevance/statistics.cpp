// Statistics of StyleSpace (released code: GetCode.py, S_mean_std): mean and σ of each channel over seeded latents.
// Samples come in blocks of a fixed size, so a result is a function of (model, seed, count) on a given machine.
#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "relevance/style_moments.h"
#include "relevance/sweep_inputs.h"
#include "styleclip/error.h"
#include "styleclip/relevance.h"

namespace styleclip {
namespace {

// Latents a block: enough to fill a matrix product, and 9 MB of S codes at 1024 px.
constexpr std::int64_t kBlock = 256;

// w [n, …, width] of samples first …: styles of a broken w would all be broken, and say nothing of where.
void check_finite_latents(const at::Tensor& w, std::int64_t first, const std::string& what) {
  const at::Tensor finite = at::isfinite(w).flatten(1).all(1);
  if (finite.all().item<bool>()) return;
  const std::int64_t sample = finite.to(at::kByte).argmin().item<std::int64_t>();
  const at::Tensor numbers = at::isfinite(w[sample]).reshape({-1, w.size(-1)}).all(0);
  throw Error(ErrorCode::NotFinite,
              what + " of sample " + std::to_string(first + sample) + " is not finite in channel " +
                  std::to_string(numbers.to(at::kByte).argmin().item<std::int64_t>()) + ".",
              "The generator is damaged: import it again, or use another file. In half precision, try float32.");
}

}  // namespace

at::Tensor sample_styles(Generator& generator, std::int64_t count, std::int64_t first, const SampleSettings& settings) {
  const at::Tensor z = generator.sample_z(count, settings.seed, first);
  const at::Tensor w = generator.mapping(z, generator.sample_labels(count, first));
  check_finite_latents(w, first, "The mapping network's w");
  const at::Tensor truncated = generator.truncate(w, settings.truncation_psi, settings.truncation_cutoff);
  check_finite_latents(truncated, first, "The truncated w, by its average,");
  return generator.styles(truncated);
}

void check_sample_settings(const SampleSettings& settings) {
  if (std::isfinite(settings.truncation_psi)) return;
  throw Error(ErrorCode::Range, "truncationPsi is not a finite number.", "Use 0 to 1; 0.7 is the field's default.");
}

StyleStatistics style_statistics(Generator& generator, std::int64_t samples, const SampleSettings& settings,
                                 const RunContext& run) {
  if (samples < 1) {
    throw Error(ErrorCode::Range, "Statistics over " + std::to_string(samples) + " samples.",
                "Use 1 or more; the released files have 100000.");
  }
  check_sample_settings(settings);
  const c10::NoGradGuard no_grad;
  run.check();
  ProgressMeter meter(run, "statistics", samples, "samples");
  StyleMoments moments;
  for (std::int64_t first = 0; first < samples; first += kBlock) {
    const std::int64_t count = std::min(kBlock, samples - first);
    moments.add(sample_styles(generator, count, first, settings));
    meter.step(count);
  }
  check_finite_styles(generator.layout(), moments.mean(), "style");
  StyleStatistics statistics;
  statistics.mean = moments.mean().to(at::kCPU, at::kFloat);
  statistics.sigma = moments.sigma().to(at::kCPU, at::kFloat);
  statistics.samples = samples;
  return statistics;
}

}  // namespace styleclip
