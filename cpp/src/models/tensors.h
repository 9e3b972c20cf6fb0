// A blueprint's tensors: taken from weights after an exact check, or drawn as the papers say.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "models/spec.h"
#include "styleclip/run.h"

namespace styleclip {

using TensorMap = std::map<std::string, at::Tensor>;

/// Owned float32 (or int64) copies under the blueprint's names. Throws ModelMismatch, naming the first unexpected name,
/// the missing ones or the wrong shape; NotFinite naming the tensor that holds NaN or infinity.
TensorMap take_weights(const Blueprint& blueprint, const TensorMap& weights, std::uint64_t seed, const RunContext& run);

/// Random values: each tensor depends on `seed` and its own name alone.
TensorMap draw_weights(const Blueprint& blueprint, std::uint64_t seed, const RunContext& run);

/// "[3, 4]"
std::string shape_text(at::IntArrayRef shape);

}  // namespace styleclip
