// The relevance sweep: how much each style channel moves the CLIP embedding of a picture (StyleCLIP, section 6; released
// code: global_directions/SingleChannel.py). Result: one unit row Δi_c per channel.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "styleclip/models.h"
#include "styleclip/run.h"

namespace styleclip {

/// Mean and standard deviation (ddof 0) of every style channel over `samples` latents.
struct StyleStatistics {
  at::Tensor mean;   // [total] float32
  at::Tensor sigma;  // [total] float32
  std::int64_t samples = 0;
};

/// How latents are drawn, for statistics and for the sweep's images. Two conventions of the field:
/// StyleCLIP's TensorFlow code truncates every row (cutoff < 0), its torch port only rows < 8 (cutoff = 8).
struct SampleSettings {
  std::uint64_t seed = 0;
  double truncation_psi = 0.7;
  std::int64_t truncation_cutoff = -1;  // < 0: all rows
};

/// Over latents 0 to `samples` - 1 of the seed, summed in float64. Throws Range for samples below 1 or a truncation that is no
/// number, NotFinite for a model that gives NaN, Aborted within one batch.
StyleStatistics style_statistics(Generator& generator, std::int64_t samples, const SampleSettings& settings,
                                 const RunContext& run);

/// Number type of the exact sweep's activations, beside float32 sums and float64 accumulation. TF32 is CUDA's.
enum class Precision { Float32, TF32, Float16, BFloat16 };

enum class Perturbation {
  Absolute,  // s_c := mean_c ± k σ_c (released code)
  Relative   // s_c := s_c ± k σ_c, the image's own (paper)
};

struct SweepOptions {
  std::int64_t images = 100;
  double sigmas = 5;
  Perturbation perturbation = Perturbation::Absolute;
  std::vector<std::string> layers = {"conv"};  // StyleLayout::select
  SampleSettings samples;
  Preprocess preprocess = Preprocess::Float;
  NoiseMode noise = NoiseMode::Const;
  Precision precision = Precision::Float32;  // of "exact" and the methods built on it; "reference" uses the models' own
  /// "stop-at" only: the resolution whose later layers are not run again for a changed channel; 0: 256, or half of the
  /// picture where that is smaller.
  std::int64_t stop_at = 0;
  /// "adaptive" only: a channel's pictures end when, with at least this confidence, its row's cosine to the row of all
  /// `images` pictures is at least `cosine`. Both between 0 and 1.
  double cosine = 0.99, confidence = 0.95;
  std::int64_t batch = 0;  // pictures a forward; 0: chosen from the picture size and `memory_bytes`
  /// Bound on what a sweep takes beside the loaded models, libtorch's own at its first convolution included; 0: a quarter
  /// of the device's free memory. Below RelevanceRows::least_bytes the batches are the smallest ones.
  std::int64_t memory_bytes = 0;
  std::vector<std::int64_t> channels;  // flat S indices, ascending, of `layers`: only these; empty: all of them
};

/// Row i belongs to flat style channel channels[i].
struct RelevanceRows {
  std::vector<std::int64_t> channels;  // flat indices into S
  at::Tensor rows;                     // [n, d] float32, unit length (zero where count == 0)
  at::Tensor concentration;            // [n] float32: length of the mean of unit differences (0..1)
  at::Tensor magnitude;                // [n] float32: mean |d| before d is normalised
  at::Tensor counts;                   // [n] int64: images with a non-zero difference
  std::int64_t images = 0;             // pictures rendered
  std::string implementation;          // what painted it: "reference", "exact", "stop-at", "gradient"
  std::int64_t batch = 0;              // pictures a forward at the end: smaller than at the start if memory ran out
  /// Bytes that the sweep takes with its smallest batches, an upper estimate: where `memory_bytes` was below, this is what held.
  /// 0: nothing was planned, since the batch was given, or the rows come from shards.
  std::int64_t least_bytes = 0;
  double seconds = 0;
};

/// The readable implementation, permanent: for every channel, every sample picture is rendered twice and embedded.
/// Results do not depend on the batch size beyond float rounding. A channel whose two values are equal in every picture
/// (σ = 0) has a zero row with count 0 and is not rendered. Throws NotFinite naming layer and channel where numbers stop
/// being finite when a model gives NaN or infinity; Range, Shape, Argument for settings; Aborted within one batch.
RelevanceRows sweep_reference(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                              const SweepOptions& options, const RunContext& run);

/// The fast exact method: the same numbers up to the rounding of another order of sums, from StyleGAN2 under rosinality's
/// names, in options.precision. Any other generator goes through sweep_reference, and the result says so. On a CPU pieces
/// of a picture's channels run side by side, as many as at::get_num_threads() says; the bits do not hang on which thread took
/// which. Call prepare_thread() first. Throws as sweep_reference; Argument for a precision that the device has not.
RelevanceRows sweep_exact(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                          const SweepOptions& options, const RunContext& run);

/// The first-order method: J = ∂ unit(CLIP(picture)) / ∂S at each sample picture, from one backward pass for each number
/// of the embedding; a channel's difference is J_c (s₊ − s₋), and the rest is as above. It costs embedding_dim passes a
/// picture, however many channels there are, and says nothing of what lies beyond the slope. `images` of the result counts
/// the backward passes. Any generator and CLIP that libtorch can differentiate; Argument with Preprocess::Reference8, whose
/// roundings have no slope. Throws as sweep_reference.
RelevanceRows sweep_gradient(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                             const SweepOptions& options, const RunContext& run);

/// Which channels of one text are wanted, and how they are looked for.
struct ScreenOptions {
  at::Tensor text;  // [embedding]: a direction in CLIP's space
  /// Wanted: the `channels` of largest |r|, r the cosine of a channel's row to `text`; with `beta`, those with |r| >= beta;
  /// with `automatic`, those that the automatic β of a global direction keeps.
  std::int64_t channels = 20;
  std::optional<double> beta;
  bool automatic = false;
  /// Candidates after the gradient: `margin` times `channels`, and those with |r| >= β / margin. At least 1.
  double margin = 3;
  /// Random directions a picture, beside the text, that tell how long a channel's gradient is; 0: 5, or 500 / pictures
  /// where there are fewer than 100.
  std::int64_t probes = 0;
  double confidence = 0.99;  // with which a candidate that is given up is not wanted, each time it is looked at
};

/// Rows as exact as sweep_exact's, of the candidates that were not given up.
struct ScreenedRows {
  RelevanceRows rows;
  std::int64_t of = 0, candidates = 0;  // channels looked at by gradient, and in exact pictures
  std::int64_t probes = 0;              // used
};

/// The channels of one text, in three steps. The gradient along it in every sample picture ranks all channels. The
/// candidates' pictures are painted as sweep_exact does; after 8, 9, 10, 11, … of them, ever farther apart, a candidate
/// whose |r| is below what is wanted with the confidence asked for is given up. Those left have all pictures.
/// `rows.images` counts backward passes and pictures. Throws as sweep_exact and sweep_gradient; EmptySelection where no
/// channel comes into question.
ScreenedRows sweep_screened(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                            const SweepOptions& options, const ScreenOptions& screen, const RunContext& run);

/// Names of the methods compiled in: "reference", "exact", "stop-at", "adaptive", "gradient".
std::vector<std::string> sweep_methods();
/// The sweep by the method of that name; Argument for one that does not exist, naming those that do.
RelevanceRows sweep(const std::string& method, Generator& generator, Clip& clip, const StyleStatistics& statistics,
                    const SweepOptions& options, const RunContext& run);

}  // namespace styleclip
