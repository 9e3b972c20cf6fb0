// Vector–Jacobian products of the sample pictures' unit embeddings by their S codes: what the gradient and the screening
// are made of.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "relevance/engine.h"

namespace styleclip {

/// What is wanted of every picture.
struct SlopesWanted {
  std::int64_t width = 0;  // products
  /// [width, embedding] float32 on the models' device: what the picture's Jacobian is multiplied by.
  std::function<at::Tensor(std::int64_t picture)> cotangents;
  /// Told of every picture once, in order: products [total, width] float32 on the models' device.
  std::function<void(std::int64_t picture, const at::Tensor& products)> took;
};

/// How slopes are taken within the sweep's memory.
struct SlopesPlan {
  std::int64_t batch = 1;        // pictures a forward pass
  std::int64_t least_bytes = 0;  // of the smallest; 0 where the batch was given
  std::int64_t pool_bytes = 0;   // for take_slopes' tensors
};
/// `width` as in SlopesWanted; `beside`: bytes held by the caller and by what it does with the products, tables included.
SlopesPlan plan_slopes(const SweepTask& task, std::int64_t width, std::int64_t beside);

/// Sample pictures first_picture …, `plan.batch` of them a forward pass and then a backward pass a product; on a CPU each thread
/// by itself. Steps `meter` by products. Where memory runs out the plan's batch is halved. Throws Argument where pictures go to CLIP
/// through 8-bit roundings, which have no slope, Aborted after one backward pass, OutOfMemory where a single picture does not
/// fit. Products that are not finite are passed on.
void take_slopes(const SweepTask& task, std::int64_t first_picture, std::int64_t pictures, const SlopesWanted& wanted,
                 SlopesPlan& plan, ProgressMeter& meter);

}  // namespace styleclip
