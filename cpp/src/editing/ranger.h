// The optimisers of the mapper's and the encoder's training, on plain tensors: Ranger as StyleCLIP uses it
// (SC:mapper/training/ranger.py, version 20.4.11), that is RAdam (arXiv 1908.03265), Lookahead (arXiv 1907.08610) and
// gradient centralisation (arXiv 2004.01461) in one; and Adam (arXiv 1412.6980).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "styleclip/training.h"

namespace styleclip {

/// One optimiser over a list of parameters, which it writes to. Everything that it goes on from is in `first`, `second`,
/// `slow` (empty for Adam) and `steps`.
class ParameterOptimizer {
 public:
  /// Takes the parameters, not copies of them; their values now are where Lookahead's slow weights begin.
  ParameterOptimizer(TrainingOptimizer kind, double learning_rate, std::vector<at::Tensor> parameters);

  /// One update by gradients of the parameters' shapes, in their order, at this share of the learning rate.
  void step(const std::vector<at::Tensor>& gradients, double share = 1);

  std::vector<at::Tensor> first, second, slow;
  std::int64_t steps = 0;

 private:
  TrainingOptimizer kind_;
  double rate_;
  std::vector<at::Tensor> parameters_;
};

}  // namespace styleclip
