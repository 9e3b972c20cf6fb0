// What a sweep's precision means to libtorch: the activations' number type, and what CUDA's libraries may do. By
// default libtorch lets convolutions round float32 products to TF32, and sums of half-precision products be rounded
// on the way.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>

#include "styleclip/relevance.h"

namespace styleclip {

at::ScalarType activation_type(Precision precision);
/// "float32", "tf32", "float16", "bfloat16".
std::string precision_name(Precision precision);

/// While one lives, CUDA's float32 convolutions and matrix products are IEEE's, or TF32's where that was asked for;
/// sums of half-precision products are float32's; and cuDNN computes the same bits from the same numbers: of its ways
/// only those that always sum in one order, chosen by its rules. It does not time them on a shape's first use: a
/// sweep has batches of dozens of shapes, each would be timed anew, and the winner, so the last bits, would change
/// from run to run.
///
/// The switches are the whole process's: while any living one wants IEEE's, all get IEEE's, so that of two sweeps at
/// once one may be more exact than it asked for, and never less; the last one puts the switches back. Any thread may
/// make one, also inside another: a part of the work that wants more than the rest.
class PrecisionGuard {
 public:
  explicit PrecisionGuard(Precision precision);
  ~PrecisionGuard();
  PrecisionGuard(const PrecisionGuard&) = delete;
  PrecisionGuard& operator=(const PrecisionGuard&) = delete;

 private:
  bool ieee_;
};

}  // namespace styleclip
