// Inversion: latents, and where wanted noise maps, that make a generator draw given pictures. Many pictures at once, each a
// problem of its own. StyleGAN2's projector (arXiv 1912.04958; NVlabs/stylegan2-ada-pytorch, projector.py), Image2StyleGAN
// (arXiv 1904.03189), and the refinement of an encoder's codes are settings of one loop; pivotal tuning (PTI, arXiv
// 2106.05744) moves the generator instead.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "styleclip/models.h"
#include "styleclip/run.h"

namespace styleclip {

/// What compares pictures beyond pixels; at most one of them.
struct FeatureNetwork {
  Clip* clip = nullptr;
  Identity* identity = nullptr;
  Perceptual* perceptual = nullptr;

  /// Of pictures [n, 3, h, w] in [-1, 1]: unit embeddings, features, or the pictures themselves where the network takes two.
  at::Tensor features(const at::Tensor& images) const;
  /// [n]: squared distance of embeddings or features, or the network's own distance. `target` is of features().
  at::Tensor distance(const at::Tensor& images, const at::Tensor& target) const;
  bool any() const { return clip != nullptr || identity != nullptr || perceptual != nullptr; }
};

struct InversionOptions {
  /// One w a picture (false), or a w for each row.
  bool w_plus = true;
  std::int64_t steps = 1000;
  /// Adam's (β 0.9, 0.999).
  double learning_rate = 0.1;
  /// Whether that is in standard deviations of w, or in w's own unit. Noise maps have the standard deviation 1.
  bool rate_in_sigmas = false;
  /// The projector's schedule: up over the first 5 % of the steps, down as a cosine over the last 25 %. Else constant.
  bool ramp = true;
  /// Of the noise added to the latents, times w's spread: falls as (1 − t/0.75)² to 0 (projector: 0.05).
  double latent_noise = 0;
  /// Noise maps are optimised too, from N(0, 1), each kept at mean 0 and variance 1.
  bool noise_maps = false;
  /// Of the maps' correlation with themselves, one pixel on, at every scale (projector: 1e5).
  double lambda_noise = 1e5;
  /// Of the pictures' mean square error, and of that of both pooled by 4. Scale [-1, 1].
  double lambda_pixel = 1;
  double lambda_pooled = 0;
  double lambda_feature = 1;
  /// Of the mean square of (w − start)/σ: keeps codes where edits work.
  double lambda_start = 0;
  std::uint64_t seed = 0;
  /// Pictures that go through the models at once; 0: by memory.
  std::int64_t batch = 0;
  /// A total above this times max(1, the first total) has exploded.
  double explosion = 1e3;
};

enum class InversionEnd : std::int64_t { Running = 0, Steps = 1, NotFinite = 2, Exploded = 3 };

/// One run. The models must outlive it and stay as they are. One thread at a time.
class Inverter {
 public:
  /// images [n, 3, size, size] in [-1, 1], of the generator's size; start [n, width] or [n, rows, width], undefined: the mean
  /// w. Throws Shape, Range, Argument, NotFinite.
  Inverter(Generator& generator, const FeatureNetwork& features, const at::Tensor& images, const at::Tensor& start,
           const InversionOptions& options, const RunContext& run);
  ~Inverter();
  Inverter(const Inverter&) = delete;
  Inverter& operator=(const Inverter&) = delete;

  /// Up to `steps` updates, and after the last one a look at where it led. Returns whether it goes on.
  bool advance(std::int64_t steps, const RunContext& run);
  std::int64_t step() const;
  /// Mean over the pictures of the last totals seen; not a number before the first step.
  double loss() const;

  /// Everything, for going on bit for bit, on the CPU: point.i, first.i, second.i, best.i (0: latents, then noise maps),
  /// origin, best_total, best_step, end, curves, step.
  std::map<std::string, at::Tensor> state() const;
  /// Throws Shape or Range for another run's, and changes nothing then.
  void restore(const std::map<std::string, at::Tensor>& state);

  struct Result {
    at::Tensor latents;             // [n, rows, width] or [n, width]
    std::vector<at::Tensor> noise;  // one [n, 1, r, r] a convolution; empty where none were optimised
    at::Tensor curves;  // [n, 6, steps + 1] float64: total, pixel, pooled, feature, noise, start; NaN: not reached
    at::Tensor best_step, end;  // [n] int64
  };
  /// The latents of the lowest total that no latent noise was part of, or, `best` false, where they are now.
  Result result(bool best) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct TuningOptions {
  std::int64_t steps = 350;
  double learning_rate = 3e-4;
  double lambda_pixel = 1, lambda_feature = 1;
  /// Ends when the mean feature distance is at most this; 0: never.
  double enough = 0;
  /// Of the tuned generator's square error and feature distance to the original one at a random latent near a pivot, one
  /// a step, without noise: keeps what tuning does local. 0, the released code's default: none; 0.1 is its weight.
  double lambda_locality = 0;
  /// How far from the pivot that latent is, in w's own unit, as the length of all rows together; released: 30.
  double locality_distance = 30;
  std::uint64_t seed = 0;  // of those latents
  std::int64_t batch = 0;  // pictures a forward; 0: by memory
  /// A total above this many times max(1, the first) ends the run, as one that is no number does.
  double explosion = 1e3;
};

/// Pivotal tuning: moves a generator's weights until its pictures at fixed latents are the given ones.
class PivotalTuner {
 public:
  /// `generator` is changed: give a copy of its own, in float32. Throws Argument, Shape.
  PivotalTuner(Generator& generator, const FeatureNetwork& features, const at::Tensor& images, const at::Tensor& w_plus,
               const std::vector<at::Tensor>& noise, const TuningOptions& options);
  ~PivotalTuner();
  PivotalTuner(const PivotalTuner&) = delete;
  PivotalTuner& operator=(const PivotalTuner&) = delete;

  /// Up to `steps` updates. Returns whether it goes on. A loss that is no number, or that exploded,
  /// throws NotFinite, naming the step, and leaves the best weights.
  bool advance(std::int64_t steps, const RunContext& run);
  std::int64_t step() const;
  /// The last total; not a number before the first step.
  double loss() const;
  /// [steps made + …, 4] float64: total, pixel, feature, locality before each update; the parts are not weighted.
  at::Tensor curve() const;
  /// By name: tuned weights − original ones; `best`: those of the lowest total that was seen.
  std::map<std::string, at::Tensor> difference(bool best = false) const;

  /// Everything, for going on bit for bit, on the CPU: weights.*, first.*, second.*, best.*, curve, numbers [step, lowest
  /// total, whether it has ended].
  std::map<std::string, at::Tensor> state() const;
  /// For a tuner of the same original generator. Throws Shape or Range for another run's, and changes nothing then.
  void restore(const std::map<std::string, at::Tensor>& state);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Adds a difference to a generator's weights. Throws ModelMismatch when names or shapes are not its own.
void apply_difference(Generator& generator, const std::map<std::string, at::Tensor>& difference);

}  // namespace styleclip
