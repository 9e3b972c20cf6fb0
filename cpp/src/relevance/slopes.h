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

/// Pictures a forward pass for take_slopes.
std::int64_t slopes_batch(const SweepTask& task);

/// Sample pictures first_picture …, `batch` of them a forward pass and then a backward pass a product; on a CPU each thread
/// by itself. Steps `meter` by products. Where memory runs out `batch` is halved. Throws Argument where pictures go to CLIP
/// through 8-bit roundings, which have no slope, Aborted after one backward pass, OutOfMemory where a single picture does not
/// fit. Products that are not finite are passed on.
void take_slopes(const SweepTask& task, std::int64_t first_picture, std::int64_t pictures, const SlopesWanted& wanted,
                 std::int64_t& batch, ProgressMeter& meter);

}  // namespace styleclip
