// Tensors of a run that goes on, by name. A state is taken whole or not at all: look at all of it before writing any.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "styleclip/error.h"

namespace styleclip {

using SavedState = std::map<std::string, at::Tensor>;

/// The tensor of a name, contiguous, of that type and shape; throws Shape where it is not there or another.
inline at::Tensor saved_tensor(const SavedState& state, const std::string& name, at::ScalarType type,
                               at::IntArrayRef shape) {
  const auto found = state.find(name);
  if (found == state.end() || found->second.sizes() != shape || found->second.scalar_type() != type) {
    throw Error(ErrorCode::Shape, "The state belongs to another run: '" + name + "' does not fit.", "Start anew.");
  }
  return found->second.contiguous();
}

inline at::Tensor saved_tensor(const SavedState& state, const std::string& name, const at::Tensor& like) {
  return saved_tensor(state, name, like.scalar_type(), like.sizes());
}

}  // namespace styleclip
