// Threads side by side: every piece of work is done once, each thread is alone to libtorch, and failures of any of them end
// the run and nothing else.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "runtime/crew.h"
#include "styleclip/relevance.h"
#include "styleclip/runtime.h"
#include "tiny_world.h"

namespace {

const auto plainly = [](const std::function<void()>& serve) { serve(); };

}  // namespace

TEST_CASE("a crew: all the work, on its own threads, told on the caller's") {
  const int before = at::get_num_threads();
  std::atomic<int> lives{0};
  {
    styleclip::Crew crew(3, [&](const std::function<void()>& serve) {
      ++lives;
      serve();
      --lives;
    });
    CHECK(at::get_num_threads() == before);
    for (const std::size_t count : {0, 1, 2, 100}) {
      std::vector<std::atomic<int>> times(count);
      std::atomic<bool> alone{true};
      std::set<std::size_t> told;
      const std::thread::id caller = std::this_thread::get_id();
      crew.run(
          count,
          [&](std::size_t i) {
            ++times[i];
            if (at::get_num_threads() != 1 || std::this_thread::get_id() == caller) alone = false;
          },
          [&](std::size_t i) {
            CHECK(std::this_thread::get_id() == caller);
            CHECK(told.insert(i).second);
          });
      CHECK(told.size() == count);
      CHECK(alone);
      for (const auto& one : times) CHECK(one == 1);
    }
    CHECK(lives == 3);
  }
  CHECK(lives == 0);
  // A thread that comes later gets libtorch's number, not the crew's.
  int later = 0;
  std::thread([&] {
    styleclip::prepare_thread();
    later = styleclip::threads();
  }).join();
  CHECK(later == before);
}

TEST_CASE("threads that begin while crews start: all of them get libtorch's number") {
  const int before = at::get_num_threads();
  std::atomic<bool> starting{true};
  std::atomic<int> begun{0}, wrong{0};
  std::vector<std::thread> others;
  for (int i = 0; i < 2; ++i) {
    others.emplace_back([&] {
      while (starting || begun < 100) {
        std::thread([&] {
          styleclip::prepare_thread();
          if (styleclip::threads() != before) ++wrong;
          ++begun;
        }).join();
      }
    });
  }
  for (int i = 0; i < 300; ++i) const styleclip::Crew crew(3, plainly);
  starting = false;
  for (std::thread& other : others) other.join();
  CHECK(wrong == 0);
}

TEST_CASE("a crew: a failure ends the run, is thrown once, and the crew goes on") {
  styleclip::Crew crew(2, plainly);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> begun{0};
    CHECK_THROWS_WITH_AS(crew.run(
                             1000,
                             [&](std::size_t i) {
                               ++begun;
                               if (i == 5) throw std::runtime_error("five");
                               // Throwing takes a while, in which a thread with nothing to do begins a thousand pieces.
                               std::this_thread::sleep_for(std::chrono::milliseconds(1));
                             },
                             [](std::size_t) {}),
                         "five", std::runtime_error);
    CHECK(begun < 1000);
    int told = 0;
    CHECK_THROWS_WITH_AS(crew.run(
                             1000, [](std::size_t) { std::this_thread::yield(); },
                             [&](std::size_t) {
                               if (++told == 3) throw std::runtime_error("told");
                             }),
                         "told", std::runtime_error);
    CHECK(told == 3);
    std::atomic<int> done{0};
    crew.run(10, [&](std::size_t) { ++done; }, [](std::size_t) {});
    CHECK(done == 10);
  }
}

TEST_CASE("a crew: of several failures that of the lowest number is thrown, whichever came first") {
  styleclip::Crew crew(4, plainly);
  for (int round = 0; round < 20; ++round) {
    CHECK_THROWS_WITH_AS(crew.run(
                             8,
                             [&](std::size_t i) {
                               if (i == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
                               throw std::runtime_error(std::to_string(i));
                             },
                             [](std::size_t) {}),
                         "0", std::runtime_error);
  }
}

TEST_CASE("the exact sweep on several threads: the same bits run after run") {
  const int before = at::get_num_threads();
  at::set_num_threads(4);
  const auto statistics = styleclip::style_statistics(tiny::generator(), 500, {}, {});
  styleclip::SweepOptions options;
  options.images = 4;
  options.layers = {"all"};
  options.batch = 4;  // many small pieces
  for (const styleclip::Precision precision : {styleclip::Precision::Float32, styleclip::Precision::BFloat16}) {
    options.precision = precision;
    const auto first = styleclip::sweep_exact(tiny::generator(), tiny::clip(), statistics, options, {});
    for (int again = 0; again < 6; ++again) {
      const auto next = styleclip::sweep_exact(tiny::generator(), tiny::clip(), statistics, options, {});
      CHECK(at::equal(next.rows, first.rows));
      CHECK(at::equal(next.magnitude, first.magnitude));
    }
  }
  at::set_num_threads(before);
}
