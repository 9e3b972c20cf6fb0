// Latent optimisation (StyleCLIP, section 4; SC:optimization/run_optimization.py): gradient descent on a latent, for many
// latents at once, each a problem of its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "styleclip/models.h"
#include "styleclip/objective.h"
#include "styleclip/run.h"

namespace styleclip {

enum class LatentSpace { W, WPlus, S };

struct OptimizerOptions {
  LatentSpace space = LatentSpace::WPlus;
  /// In S: names of layers whose channels move, or "conv", "torgb", "all".
  std::vector<std::string> layers = {"conv"};
  ObjectiveOptions objective;
  std::int64_t steps = 200;
  /// Of Adam (β 0.9 and 0.999), at the plateau of the schedule: rises over the first 5 % of the steps, falls as a cosine over
  /// the last 25 %.
  double learning_rate = 0.05;
  /// True: coordinates are (x − source)/σ, σ of each channel over random latents, so that one step, and the L2 of a change,
  /// mean the same in every space and channel. False: the latents' own numbers (released code).
  bool in_sigmas = true;
  /// True: the released code's schedule, whose first step has the rate 0, so that it moves nothing.
  bool idle_first_step = false;
  /// > 0: a problem is done when this many steps brought its best total down by less than `tolerance`.
  std::int64_t patience = 0;
  double tolerance = 1e-3;
  /// Starts a problem: the first at the source, others around it, `spread` standard deviations away a number.
  std::int64_t restarts = 1;
  double spread = 1;
  /// Of the restarts.
  std::uint64_t seed = 0;
  /// Problems that go through the models at once; 0: by memory.
  std::int64_t batch = 0;
  /// A total above this times max(1, the first total) has exploded.
  double explosion = 1e3;
};

enum class StopReason : std::int64_t { Running = 0, Steps = 1, Plateau = 2, NotFinite = 3, Exploded = 4 };

/// All that a run is made of, for going on later. Rows: problems × restarts, restarts of one problem beside each other. CPU.
struct OptimizerState {
  at::Tensor point, first_moment, second_moment;  // [rows, …] float32, in coordinates
  at::Tensor best;                                // [rows, …]: the point of the lowest total
  at::Tensor best_total;                          // [rows] float64
  at::Tensor best_step;                           // [rows] int64: updates before it
  at::Tensor curves;  // [rows, 4, steps + 1] float64: total, clip, l2, id after 0, 1, … updates; NaN where not reached
  at::Tensor reason;  // [rows] int64, StopReason
  at::Tensor mark;    // [rows, 2] float64: total and step at which the patience began
  std::int64_t step = 0;
};

/// One run. The models must outlive it and stay as they are. One thread at a time.
class LatentOptimizer {
 public:
  /// sources [n, …] in the space; texts [n, t, d] or [1, t, d]: a problem's distance is the mean over its t texts. Throws
  /// Shape, Range, Argument, NotFinite (sources).
  LatentOptimizer(Generator& generator, Clip& clip, Identity* identity, const at::Tensor& sources,
                  const at::Tensor& texts, const OptimizerOptions& options, const RunContext& run);
  ~LatentOptimizer();
  LatentOptimizer(const LatentOptimizer&) = delete;
  LatentOptimizer& operator=(const LatentOptimizer&) = delete;

  /// Up to `steps` updates; after an abort the state is that of the last whole step. Returns whether it goes on. A total or
  /// gradient that is no number, or that exploded, ends its row, not the call: StopReason. Throws Aborted, OutOfMemory (for one
  /// row alone; a batch is halved first).
  bool advance(std::int64_t steps, const RunContext& run);
  bool running() const;
  std::int64_t step() const;
  /// [rows] float64 on the CPU: lowest totals so far; infinite before the first evaluation.
  at::Tensor best_totals() const;

  /// A copy. Goes on from it bit for bit, on the same machine.
  OptimizerState state() const;
  /// Throws Shape for the state of another run, Range for a step that the run has not.
  void restore(const OptimizerState& state);

  /// [rows, …] in the space: where the rows are now, or where their total was lowest.
  at::Tensor latents(bool best) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace styleclip
