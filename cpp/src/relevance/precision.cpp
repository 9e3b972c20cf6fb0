#include "relevance/precision.h"

#include <ATen/Context.h>

#include <mutex>
#include <utility>

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

using Reduction = at::CuBLASReductionOption;

// What libtorch lets CUDA's libraries do. The switches exist without CUDA, too.
struct Allowed {
  bool tf32_convolutions = false, tf32_products = false;
  // Convolutions may sum in an order that changes from call to call.
  bool any_order = false;
  // A shape's first convolution times every way to compute it.
  bool benchmark = false;
  // Sums of half-precision products may be rounded to half precision on the way.
  Reduction float16 = Reduction::DisallowReducedPrecisionAllowSplitK;
  Reduction bfloat16 = Reduction::DisallowReducedPrecisionAllowSplitK;
  bool float16_accumulation = false;
};

Allowed allowed_now() {
  const at::Context& context = at::globalContext();
  return {context.allowTF32CuDNN(),
          context.allowTF32CuBLAS(),
          !context.deterministicCuDNN(),
          context.benchmarkCuDNN(),
          context.allowFP16ReductionCuBLAS(),
          context.allowBF16ReductionCuBLAS(),
          context.allowFP16AccumulationCuBLAS()};
}

// Whether sums may be rounded to half precision, and whether long ones may be made of parts.
std::pair<bool, bool> parts_of(Reduction reduction) {
  return {reduction == Reduction::AllowReducedPrecisionWithSplitK,
          reduction != Reduction::DisallowReducedPrecisionDisallowSplitK};
}

void allow(const Allowed& wanted) {
  at::Context& context = at::globalContext();
  const Allowed now = allowed_now();
  if (now.tf32_convolutions != wanted.tf32_convolutions) context.setAllowTF32CuDNN(wanted.tf32_convolutions);
  if (now.tf32_products != wanted.tf32_products) context.setAllowTF32CuBLAS(wanted.tf32_products);
  if (now.any_order != wanted.any_order) context.setDeterministicCuDNN(!wanted.any_order);
  if (now.benchmark != wanted.benchmark) context.setBenchmarkCuDNN(wanted.benchmark);
  if (now.float16 != wanted.float16) {
    const auto [reduced, split] = parts_of(wanted.float16);
    context.setAllowFP16ReductionCuBLAS(reduced, split);
  }
  if (now.bfloat16 != wanted.bfloat16) {
    const auto [reduced, split] = parts_of(wanted.bfloat16);
    context.setAllowBF16ReductionCuBLAS(reduced, split);
  }
  if (now.float16_accumulation != wanted.float16_accumulation) {
    context.setAllowFP16AccumulationCuBLAS(wanted.float16_accumulation);
  }
}

// libtorch's switches are the process's, and no other thread may read them half changed: setAllowTF32CuDNN() writes two,
// and allowTF32CuDNN() throws where they differ.
struct Switches {
  std::mutex mutex;
  int alive = 0, ieee = 0;
  Allowed before;  // the first guard

  void hold() const {
    Allowed wanted;
    wanted.tf32_convolutions = wanted.tf32_products = ieee == 0;
    allow(wanted);
  }
};

Switches& switches() {
  static Switches all;
  return all;
}

}  // namespace

PrecisionGuard::PrecisionGuard(Precision precision) : ieee_(precision != Precision::TF32) {
  Switches& all = switches();
  const std::lock_guard lock(all.mutex);
  if (all.alive == 0) all.before = allowed_now();
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
    allow(all.before);
  }
}

}  // namespace styleclip
