// What every long call takes: a flag that stops it within one batch, and a callback that tells how far it is.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>

namespace styleclip {

struct Progress {
  std::string phase;                                               // "statistics", "sweep", "edit", …
  std::int64_t done = 0;                                           // units finished
  std::int64_t total = 0;                                          // units in all
  std::string unit;                                                // "images", "channels", "samples", …
  double rate = 0;                                                 // units a second since the start of the phase
  double seconds_left = std::numeric_limits<double>::quiet_NaN();  // NaN: not known yet
  std::map<std::string, double> detail;                            // further figures: "loss", …
};

class CancelFlag {
 public:
  void set() noexcept { flag_.store(true, std::memory_order_relaxed); }
  bool is_set() const noexcept { return flag_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> flag_{false};
};

/// Passed by reference to every long call; both members are optional.
struct RunContext {
  const CancelFlag* cancel = nullptr;
  std::function<void(const Progress&)> progress;

  /// Throws Aborted when the flag is set. Called between batches.
  void check() const;
};

/// Reports a phase: step(n) checks the flag, adds n and reports at most every 50 ms, and always at the end.
class ProgressMeter {
 public:
  ProgressMeter(const RunContext& run, std::string phase, std::int64_t total, std::string unit);
  void step(std::int64_t n);
  /// A figure that the reports carry from now on.
  void detail(const std::string& name, double value) { progress_.detail[name] = value; }
  /// Takes n units off what is to be done: they turned out not to be needed.
  void spare(std::int64_t n);

 private:
  const RunContext& run_;
  Progress progress_;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace styleclip
