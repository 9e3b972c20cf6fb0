// An up layer on a CPU: the transposed convolution as one matrix product a strip of rows, and one pass that sums the nine
// taps, filters, adds noise and bias and activates, while the products are in the cache. Stock operators make four passes
// over memory of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ops/instructions_cpu.h"

namespace styleclip::exact {

struct Conv;
struct FoldedConv;

/// weight [outputs, inputs, 3, 3] -> [inputs, 9 outputs] in `type`: the right side of the product.
at::Tensor up_layer_weight(const at::Tensor& weight, at::ScalarType type);

/// x [n, inputs, h, h] channels last, of the weight's type -> y [n, outputs, 2 h, 2 h] channels last, written, activated;
/// the linear part alone where `folded` has no bias.
void up_layer_cpu(const FoldedConv& folded, const at::Tensor& x, at::Tensor& y);

/// Bytes that it takes beside x and y, on one thread.
std::int64_t up_layer_cpu_bytes(const Conv& conv, std::int64_t element_bytes);

/// With the loops of one instruction set; by default the widest.
void up_layer_cpu(const FoldedConv& folded, const at::Tensor& x, at::Tensor& y, Instructions instructions);

}  // namespace styleclip::exact
