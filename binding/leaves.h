// A data file's contents as a flat list: numbers, texts and tensors, each with the way to it. What latents, statistics and
// directions are read from; JavaScript never sees the tree itself, which may hold cycles.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "styleclip/run.h"

namespace styleclip::binding {

struct Leaf {
  std::vector<std::string> path;  // keys of dictionaries, places in lists
  at::Tensor tensor;              // ready to be copied out (to_host); undefined for the others
  bool is_number = false;
  double number = 0;
  std::string text;
};

/// Every leaf, in the file's order; None, sets, objects and their contents are left out. Throws Range when there are more
/// leaves, deeper ones or more bytes than a data file has.
std::vector<Leaf> leaves_of(const checkpoint::Checkpoint& file, const RunContext& run);

}  // namespace styleclip::binding
