// Training a latent mapper (StyleCLIP, section 5; SC:mapper/training/coach.py): a network that moves any latent towards one
// text, over given latents or over random ones.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "styleclip/models.h"
#include "styleclip/objective.h"
#include "styleclip/run.h"

namespace styleclip {

enum class TrainingOptimizer {
  Ranger,  // the released code's default
  Adam
};

struct MapperTrainingOptions {
  /// l2_mean is fixed: the mean of squares of what is added to a latent; in S the sum over the layers of such means.
  ObjectiveOptions objective;
  /// Above 0 each latent has its own aims, unit(CLIP(G(w)) + shift * text), both of unit length; else the texts are the aims.
  double shift = 0;
  TrainingOptimizer optimizer = TrainingOptimizer::Ranger;
  /// 0.5 is the released code's; the weights are stored times 100, so it is no large one.
  double learning_rate = 0.5;
  std::int64_t steps = 2000;
  std::int64_t batch = 2;
  /// Of the latents that are drawn where none are given, and of the order of those that are. Step i sees the same latents
  /// whatever came before.
  std::uint64_t seed = 0;
  double truncation_psi = 0.7;
  /// The validation's loss is looked at before the first step, every so many steps, and after the last.
  std::int64_t validate_every = 100;
  /// A batch's loss above this times max(1, the first validation's) has exploded.
  double explosion = 1e3;
};

/// Means over a batch. The parts are not weighted.
struct MapperLoss {
  double total = 0, clip = 0, l2 = 0, id = 0;
};
struct MapperLogEntry {
  std::int64_t step = 0;    // updates before it, and for a batch this one
  bool validation = false;  // else the loss of a step's batch before its update
  bool best = false;        // of validations: the lowest so far
  MapperLoss loss;
};

enum class TrainingEnd { Running, Steps, NotFinite, Exploded };

/// All that a run goes on from: weights, moments and best weights by name, on the CPU.
struct MapperTrainingState {
  std::map<std::string, at::Tensor> tensors;
  std::int64_t step = 0;
  std::int64_t best_step = -1;  // -1: no validation yet
  std::int64_t validated = -1;  // step of the last one
  double best = 0, first = 0;   // the lowest and the first validation's total
};

/// One run over one mapper, whose weights it changes. The models must outlive it. One thread at a time.
class MapperTrainer {
 public:
  /// texts [t, d]: the distance is the mean over them. `latents` and `validation` [n, …] in the mapper's space; latents may
  /// be undefined: drawn. Throws Shape, Range, Argument, ModelMismatch (a mapper of another generator's shape), NotFinite.
  MapperTrainer(Generator& generator, Clip& clip, Identity* identity, std::shared_ptr<Mapper> mapper,
                const at::Tensor& texts, const at::Tensor& latents, const at::Tensor& validation,
                const MapperTrainingOptions& options, const RunContext& run);
  ~MapperTrainer();
  MapperTrainer(const MapperTrainer&) = delete;
  MapperTrainer& operator=(const MapperTrainer&) = delete;

  /// Up to `steps` updates; after an abort the weights are those of the last whole step. Returns whether it goes on.
  bool advance(std::int64_t steps, const RunContext& run);
  TrainingEnd end() const;
  /// Updates made. Where the end is NotFinite or Exploded, the next one is the step that failed.
  std::int64_t step() const;
  /// Of the lowest validation, and its total.
  std::int64_t best_step() const;
  double best() const;
  /// What happened since the last call, in order.
  std::vector<MapperLogEntry> take_log();

  /// A copy. A run goes on from it bit for bit, on the same machine with as many threads.
  MapperTrainingState state() const;
  /// Throws Shape for the state of another network, Range for a step beyond the run.
  void restore(const MapperTrainingState& state);

  /// The archive of the best weights so far, written whole or not at all.
  WrittenArchive write_best(const std::string& path, const std::string& licence, const std::string& training_json,
                            const RunContext& run) const;

  /// Latents of this space that random training draws: numbers `first` to `first` + count - 1 of the seed.
  static at::Tensor sample(Generator& generator, const std::string& space, std::int64_t count, std::uint64_t seed,
                           std::int64_t first, double truncation_psi);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace styleclip
