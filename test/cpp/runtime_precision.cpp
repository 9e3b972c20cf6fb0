// The switches of CUDA's libraries are the process's: what guards of several threads make of them.
#include <ATen/Context.h>
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <exception>
#include <optional>
#include <thread>
#include <vector>

#include "relevance/precision.h"

namespace {

using styleclip::Precision;
using styleclip::PrecisionGuard;

using Reduction = at::CuBLASReductionOption;

std::array<bool, 2> tf32() { return {at::globalContext().allowTF32CuDNN(), at::globalContext().allowTF32CuBLAS()}; }

/// The other switches.
struct Rest {
  bool deterministic = false, benchmark = false, half_accumulation = false;
  Reduction float16 = Reduction::AllowReducedPrecisionWithSplitK;
  Reduction bfloat16 = Reduction::AllowReducedPrecisionWithSplitK;
  bool operator==(const Rest&) const = default;
};
Rest rest() {
  const at::Context& context = at::globalContext();
  return {context.deterministicCuDNN(), context.benchmarkCuDNN(), context.allowFP16AccumulationCuBLAS(),
          context.allowFP16ReductionCuBLAS(), context.allowBF16ReductionCuBLAS()};
}

/// What every guard makes of them.
constexpr Rest kGuarded = {true, false, false, Reduction::DisallowReducedPrecisionAllowSplitK,
                           Reduction::DisallowReducedPrecisionAllowSplitK};

// Puts back what a test changes.
class Changed {
 public:
  Changed(bool convolutions, bool products, const Rest& others = {}) : before_(tf32()), rest_(rest()) {
    set({convolutions, products}, others);
  }
  ~Changed() { set(before_, rest_); }
  Changed(const Changed&) = delete;
  Changed& operator=(const Changed&) = delete;

 private:
  static void set(std::array<bool, 2> to, const Rest& others) {
    at::Context& context = at::globalContext();
    context.setAllowTF32CuDNN(to[0]);
    context.setAllowTF32CuBLAS(to[1]);
    context.setDeterministicCuDNN(others.deterministic);
    context.setBenchmarkCuDNN(others.benchmark);
    context.setAllowFP16AccumulationCuBLAS(others.half_accumulation);
    const auto reduced = [](Reduction one) { return one == Reduction::AllowReducedPrecisionWithSplitK; };
    const auto split = [](Reduction one) { return one != Reduction::DisallowReducedPrecisionDisallowSplitK; };
    context.setAllowFP16ReductionCuBLAS(reduced(others.float16), split(others.float16));
    context.setAllowBF16ReductionCuBLAS(reduced(others.bfloat16), split(others.bfloat16));
  }
  std::array<bool, 2> before_;
  Rest rest_;
};

}  // namespace

TEST_CASE("precision: a guard's, then what was there before") {
  for (const bool convolutions : {false, true}) {
    for (const bool products : {false, true}) {
      const Changed changed(convolutions, products);
      for (const Precision precision : {Precision::Float32, Precision::TF32, Precision::BFloat16}) {
        {
          const PrecisionGuard guard(precision);
          const bool wanted = precision == Precision::TF32;
          CHECK(tf32() == std::array<bool, 2>{wanted, wanted});
        }
        CHECK(tf32() == std::array<bool, 2>{convolutions, products});
      }
    }
  }
}

TEST_CASE("precision: one order of sums, nothing timed, no sum in half precision; then what was there before") {
  constexpr Reduction kReductions[] = {Reduction::AllowReducedPrecisionWithSplitK,
                                       Reduction::DisallowReducedPrecisionAllowSplitK,
                                       Reduction::DisallowReducedPrecisionDisallowSplitK};
  for (const bool deterministic : {false, true}) {
    for (const bool benchmark : {false, true}) {
      for (const bool half : {false, true}) {
        for (const Reduction float16 : kReductions) {
          for (const Reduction bfloat16 : kReductions) {
            const Rest before{deterministic, benchmark, half, float16, bfloat16};
            const Changed changed(true, false, before);
            REQUIRE(rest() == before);
            for (const Precision precision : {Precision::Float32, Precision::TF32, Precision::Float16}) {
              std::optional<PrecisionGuard> outer(precision), inner(Precision::Float32);
              CHECK(rest() == kGuarded);
              outer.reset();
              CHECK(rest() == kGuarded);
              inner.reset();
              CHECK(rest() == before);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("precision: while any guard wants IEEE's, no product is rounded") {
  const Changed changed(true, false);
  std::optional<PrecisionGuard> first(Precision::TF32), second(Precision::Float32), third(Precision::TF32);
  CHECK(tf32() == std::array<bool, 2>{false, false});
  first.reset();  // not in the order in which they were made
  CHECK(tf32() == std::array<bool, 2>{false, false});
  second.reset();
  CHECK(tf32() == std::array<bool, 2>{true, true});
  third.reset();
  CHECK(tf32() == std::array<bool, 2>{true, false});
}

TEST_CASE("precision: guards of threads side by side") {
  const Rest before{false, true, true, Reduction::AllowReducedPrecisionWithSplitK,
                    Reduction::DisallowReducedPrecisionDisallowSplitK};
  const Changed changed(true, true, before);
  std::atomic<int> failed{0};
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&failed, thread] {
        try {
          for (int i = 0; i < 20'000; ++i) {
            const PrecisionGuard guard((i + thread) % 3 == 0 ? Precision::TF32 : Precision::Float32);
          }
        } catch (const std::exception&) {
          ++failed;
        }
      });
    }
  }
  CHECK(failed == 0);
  CHECK(tf32() == std::array<bool, 2>{true, true});
  CHECK(rest() == before);
}
