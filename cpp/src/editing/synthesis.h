// StyleGAN2's synthesis with gradients to S, which keeps one activation a layer. The archive's own code runs the same
// arithmetic and keeps three; its gradients to weights and noise maps are what this one has not.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "editing/synthesis_cpu.h"
#include "styleclip/models.h"

namespace styleclip {

class DifferentiableSynthesis {
 public:
  /// Null where the generator is not StyleGAN2 in float32 under the documented names: synthesis() of the generator serves
  /// those. Holds views of its weights, no copies.
  static std::unique_ptr<DifferentiableSynthesis> of(Generator& generator);

  /// S [n, total] -> pictures [n, 3, size, size] float32, with the stored noise maps, or none.
  at::Tensor pictures(const at::Tensor& s, bool noise) const;

 private:
  explicit DifferentiableSynthesis(SynthesisNetwork network);
  std::shared_ptr<const SynthesisNetwork> network_;  // which a graph may outlive
};

}  // namespace styleclip
