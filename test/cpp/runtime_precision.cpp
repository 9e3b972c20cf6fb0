// The switches of CUDA's TF32 are the process's: what guards of several threads make of them.
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

std::array<bool, 2> tf32() { return {at::globalContext().allowTF32CuDNN(), at::globalContext().allowTF32CuBLAS()}; }

// Puts back what a test changes.
class Changed {
 public:
  Changed(bool convolutions, bool products) : before_(tf32()) { set({convolutions, products}); }
  ~Changed() { set(before_); }
  Changed(const Changed&) = delete;
  Changed& operator=(const Changed&) = delete;

 private:
  static void set(std::array<bool, 2> to) {
    at::globalContext().setAllowTF32CuDNN(to[0]);
    at::globalContext().setAllowTF32CuBLAS(to[1]);
  }
  std::array<bool, 2> before_;
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
  const Changed changed(true, true);
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
}
