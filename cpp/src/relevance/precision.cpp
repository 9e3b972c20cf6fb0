#include "relevance/precision.h"

#include <ATen/Context.h>

#include <mutex>

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

namespace {

// libtorch's switches are the process's, and no other thread may read them half changed: setAllowTF32CuDNN() writes two,
// and allowTF32CuDNN() throws where they differ.
struct Switches {
  std::mutex mutex;
  int alive = 0, ieee = 0;
  bool convolutions = false, products = false;  // as they were before the first guard

  void set(bool convolutions_may, bool products_may) {
    at::Context& context = at::globalContext();
    if (context.allowTF32CuDNN() != convolutions_may) context.setAllowTF32CuDNN(convolutions_may);
    if (context.allowTF32CuBLAS() != products_may) context.setAllowTF32CuBLAS(products_may);
  }

  void hold() { set(ieee == 0, ieee == 0); }
};

Switches& switches() {
  static Switches all;
  return all;
}

}  // namespace

PrecisionGuard::PrecisionGuard(Precision precision) : ieee_(precision != Precision::TF32) {
  Switches& all = switches();
  const std::lock_guard lock(all.mutex);
  if (all.alive == 0) {
    all.convolutions = at::globalContext().allowTF32CuDNN();
    all.products = at::globalContext().allowTF32CuBLAS();
  }
  ++all.alive;
  all.ieee += ieee_ ? 1 : 0;
  all.hold();
}

PrecisionGuard::~PrecisionGuard() {
  Switches& all = switches();
  const std::lock_guard lock(all.mutex);
  --all.alive;
  all.ieee -= ieee_ ? 1 : 0;
  if (all.alive > 0) {
    all.hold();
  } else {
    all.set(all.convolutions, all.products);
  }
}

}  // namespace styleclip
