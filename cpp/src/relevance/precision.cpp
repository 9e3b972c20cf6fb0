#include "relevance/precision.h"

#include <ATen/Context.h>

namespace styleclip {

at::ScalarType activation_type(Precision precision) {
  if (precision == Precision::Float16) return at::kHalf;
  return precision == Precision::BFloat16 ? at::kBFloat16 : at::kFloat;
}

std::string precision_name(Precision precision) {
  switch (precision) {
    case Precision::TF32: return "tf32";
    case Precision::Float16: return "float16";
    case Precision::BFloat16: return "bfloat16";
    case Precision::Float32: break;
  }
  return "float32";
}

PrecisionGuard::PrecisionGuard(Precision precision)
    : convolutions_(at::globalContext().allowTF32CuDNN()), products_(at::globalContext().allowTF32CuBLAS()) {
  at::globalContext().setAllowTF32CuDNN(precision == Precision::TF32);
  at::globalContext().setAllowTF32CuBLAS(precision == Precision::TF32);
}

PrecisionGuard::~PrecisionGuard() {
  at::globalContext().setAllowTF32CuDNN(convolutions_);
  at::globalContext().setAllowTF32CuBLAS(products_);
}

}  // namespace styleclip
