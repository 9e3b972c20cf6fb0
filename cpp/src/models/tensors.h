// A blueprint's tensors: taken from weights after an exact check, or drawn as the papers say.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "models/spec.h"
#include "styleclip/run.h"

namespace styleclip {

using TensorMap = std::map<std::string, at::Tensor>;

/// Told of memory that has been read (MakeRequest::release); may be empty.
using Release = std::function<void(const void* data, std::size_t bytes)>;

/// Tensors under the blueprint's names, contiguous, in `dtype` (Undefined: the float type they came in; float32
/// where stays_float32 says so, int64 where the blueprint does): views of the given ones where these are so already, else copies. Throws ModelMismatch, naming the
/// first unexpected name, the missing ones or the wrong shape; NotFinite naming the tensor that holds NaN or infinity, or
/// is too large for `dtype`.
TensorMap take_weights(const Blueprint& blueprint, const TensorMap& weights, std::uint64_t seed, const RunContext& run,
                       at::ScalarType dtype = at::kFloat, const Release& release = {});

/// Random values in the same types: each tensor depends on `seed` and its own name alone.
TensorMap draw_weights(const Blueprint& blueprint, std::uint64_t seed, at::ScalarType dtype, const RunContext& run);

/// One-hot labels that name each class in turn, [count, width], from sample number `first` on: what a conditional
/// generator's mean of w is taken over.
at::Tensor every_label(std::int64_t count, std::int64_t width, std::int64_t first = 0);

/// "[3, 4]"
std::string shape_text(at::IntArrayRef shape);

}  // namespace styleclip
