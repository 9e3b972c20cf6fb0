// Training an encoder on nothing but a generator: pairs (G(w), w) without end, no photographs (baselines: e4e, arXiv
// 2102.02766; pSp, arXiv 2008.00951).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "styleclip/models.h"
#include "styleclip/run.h"
#include "styleclip/training.h"

namespace styleclip {

struct EncoderTrainingOptions {
  std::int64_t steps = 20'000;
  std::int64_t batch = 16;
  /// Of these, the first so many are rendered again from ŵ for image, identity and CLIP, which costs most; 0: all.
  std::int64_t image_batch = 0;
  TrainingOptimizer optimizer = TrainingOptimizer::Adam;  // e4e's and pSp's is Ranger
  /// After the warm-up, falling to 0 as a cosine.
  double learning_rate = 2e-3;
  std::int64_t warm_up = 200;
  /// Of mean ((w − ŵ)/σ)², σ one number: the root of w's mean variance.
  double lambda_latent = 0.1;
  /// Of mean (G(w) − G(ŵ))² plus mean |difference| of both pooled by 4.
  double lambda_image = 1;
  /// Of 1 − cosine of identities, and of CLIP embeddings; each needs its network where above 0.
  double lambda_id = 0;
  double lambda_clip = 0;
  /// Of Σ_i |Δ_i|, the lengths of the rows' offsets from row 0 (e4e's, 2e-4).
  double lambda_delta = 2e-4;
  /// Of the w that are drawn.
  double truncation_psi = 1;
  /// Share of pictures whose rows from a random one on are another sample's: codes that leave W.
  double mixing = 0.25;
  /// How much the encoder's pictures are disturbed; 0: only rounded to 8 bits.
  double augmentation = 1;
  /// A longer gradient is scaled down to this length.
  double clip_gradient = 1;
  /// The encoder's activations in bfloat16; weights, normalisation and everything else stay float32.
  bool bfloat16 = false;
  std::int64_t validation = 256;  // held-out pictures
  std::uint64_t seed = 0;
  /// A total above this many times max(1, Σλ) ends the run, as one that is no number does: each part is some 1 for the mean
  /// w, whatever the picture.
  double explosion = 1e3;
};

/// Means over pictures, not weighted.
struct EncoderLoss {
  double total = 0, latent = 0, image = 0, id = 0, clip = 0, delta = 0;
};

/// A run. The models must outlive it. One thread at a time.
class EncoderTrainer {
 public:
  /// Begins with the encoder's weights (an e4e archive, which stays as it is); a latent average that is all 0 becomes the
  /// generator's. Throws ModelMismatch where rows or width do not fit the generator, Argument, Range.
  EncoderTrainer(Generator& generator, const Encoder& encoder, Clip* clip, Identity* identity,
                 const EncoderTrainingOptions& options, const RunContext& run);
  ~EncoderTrainer();
  EncoderTrainer(const EncoderTrainer&) = delete;
  EncoderTrainer& operator=(const EncoderTrainer&) = delete;

  /// Up to `steps` updates; gives their mean loss. After an abort the state is that of the last whole step. Throws
  /// NotFinite when a loss or gradient is no number: the step is not made.
  EncoderLoss advance(std::int64_t steps, const RunContext& run);
  std::int64_t step() const;

  /// The losses on held-out samples with stored statistics, undisturbed pictures. Weights whose image error is the lowest
  /// so far are kept as the best.
  EncoderLoss validate(const RunContext& run);
  /// Of the best weights; infinite before the first validation.
  double best_image() const;
  std::int64_t best_step() const;

  /// Everything, for going on bit for bit: weights.*, first.*, second.*, best.*, of Ranger slow.*, and numbers
  /// [step, best step, best image].
  std::map<std::string, at::Tensor> state() const;
  /// Throws Shape for another run's.
  void restore(const std::map<std::string, at::Tensor>& state);

  /// The network's configuration (docs/models.md), JSON; with weights() what write_archive needs.
  const std::string& config() const;
  /// Under the field's names, for write_archive; the present ones where nothing has been validated.
  std::map<std::string, at::Tensor> weights(bool best) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace styleclip
