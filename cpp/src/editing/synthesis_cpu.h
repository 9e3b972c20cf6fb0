// StyleGAN2's synthesis on a CPU, its way back by hand: beside a layer's convolution one pass over its memory, where autograd
// makes one for each product and sum, over few pictures at a time, while they are in the cache.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "relevance/exact/network.h"
#include "styleclip/style_layout.h"

namespace styleclip {

struct SynthesisNetwork {
  exact::Network network;
  StyleLayout layout;
  std::vector<at::Tensor> doublings;  // [2 r, r] float32: how the picture of each resolution but the last is up-sampled
};

/// What the way back needs of the way there: one activation a layer, which the next layer takes anyway.
struct SynthesisTrace {
  at::Tensor s;                       // [n, total]
  std::vector<at::Tensor> results;    // [n, outputs, r, r] channels last, of each convolution
  std::vector<at::Tensor> unclamped;  // [n, 3, r, r] of each toRGB layer; none where nothing is clamped
};

/// The gradient to S, from the one to the pictures. Float32 on a CPU. The same bits for any number of threads, but for what
/// libtorch's convolutions do.
at::Tensor synthesis_gradient_cpu(const SynthesisNetwork& synthesis, const SynthesisTrace& trace, bool noise,
                                  const at::Tensor& gradient);

}  // namespace styleclip
