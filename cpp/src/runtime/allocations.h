// What libtorch allocates while some work runs: how often, how much, and the most that is held at once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace styleclip {

struct Allocations {
  std::int64_t count = 0;
  std::int64_t bytes = 0;
  std::int64_t peak = 0;  // above what was held before
};

/// Of tensors on `device`, in one run of `work`, by this thread and those that take over its state. Work memory that is no tensor is not seen.
Allocations allocations_of(at::Device device, const std::function<void()>& work);

}  // namespace styleclip
