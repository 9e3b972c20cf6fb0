// Editing with global directions in StyleSpace (StyleCLIP, section 6).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "styleclip/models.h"
#include "styleclip/run.h"

namespace styleclip {

/// Δt = unit(t̂_target − t̂_neutral), t̂ = unit(mean over prompts of unit(CLIP(prompt))) (released code, MapTS.GetDt).
struct TextDirection {
  at::Tensor direction;        // [d] float32, unit
  double length = 0;           // |t̂_target − t̂_neutral| before the last normalisation
  at::Tensor target, neutral;  // [d] unit embeddings
};
/// Tokens int64 [prompts, context], every template already filled in. EmptySelection when both texts embed alike.
TextDirection text_direction(Clip& clip, const at::Tensor& target_tokens, const at::Tensor& neutral_tokens,
                             const RunContext& run);

enum class Measure {
  Cosine,     // r_c = row_c · Δt (released code)
  Projection  // r_c = concentration_c · row_c · Δt (paper: mean projection)
};

struct DirectionOptions {
  double beta = 0.15;                    // keep |r_c| ≥ beta; ignored when channels > 0; automatic when < 0
  std::int64_t channels = 0;             // > 0: keep that many largest |r_c| instead
  std::int64_t automatic_channels = 20;  // automatic β: largest of 0.10…0.29 that keeps more than this many
  Measure measure = Measure::Cosine;
  bool scale_by_sigma = true;  // ΔS_c = σ_c r_c / max|r| (released code); false: r_c as in the paper
  bool normalise_largest = true;
};

struct SelectedChannel {
  std::int64_t row = 0;      // row of the relevance table
  std::int64_t channel = 0;  // flat S index
  float relevance = 0;       // r_c
  float delta = 0;           // ΔS_c at α = 1
};
struct GlobalDirection {
  std::vector<SelectedChannel> selected;  // by |relevance|, largest first
  std::vector<float> delta;               // [total] ΔS at α = 1
  double beta = 0;                        // the threshold used
  double largest = 0;                     // max |r_c| over all rows
};

/// Automatic β of relevances |r| in descending order: the largest of 0.10, 0.11 … 0.29 that more than `more_than` of them
/// reach, else 0.1 (released interface).
double automatic_beta(const std::vector<double>& descending, std::int64_t more_than);

/// Plain C++ (no libtorch call), so it may run on any thread. rows [n, d], text [d], channels [n] flat S indices,
/// sigma [total]. Throws EmptySelection, naming the largest |r|, when nothing passes; Shape; NotFinite.
struct RelevanceView {
  const float* rows = nullptr;
  std::int64_t count = 0, dim = 0;
  const std::int64_t* channels = nullptr;
  const float* concentration = nullptr;
  const float* sigma = nullptr;  // [total]
  std::int64_t total = 0;
};
GlobalDirection global_direction(const RelevanceView& relevance, const float* text, const DirectionOptions& options);

/// S' = S + α ΔS for every latent and every α, rendered in batches: images handed over as they are made, in order
/// latent-major (latent 0 with all alphas first). `take` gets (first index, images [b,3,h,w] float32).
/// Returns the edited S codes [n * alphas, total].
at::Tensor edit(Generator& generator, const at::Tensor& s, const at::Tensor& delta, const std::vector<double>& alphas,
                std::int64_t batch, NoiseMode noise, const std::function<void(std::int64_t, const at::Tensor&)>& take,
                const RunContext& run);

}  // namespace styleclip
