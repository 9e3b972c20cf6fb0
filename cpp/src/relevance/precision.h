// What a sweep's precision means to libtorch: the activations' number type, and whether CUDA may round float32 products to
// TF32, which libtorch allows convolutions by default.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>

#include "styleclip/relevance.h"

namespace styleclip {

at::ScalarType activation_type(Precision precision);
/// "float32", "tf32", "float16", "bfloat16".
std::string precision_name(Precision precision);

/// While one lives, CUDA's float32 convolutions and matrix products are IEEE's, or TF32's where that was asked for. The
/// switches are the whole process's: while any living one wants IEEE's, all get IEEE's, and the last one puts the switches
/// back. Any thread may make one.
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
