// Cancellation and progress of long calls. A report every 50 ms at most: the binding hands each one to another thread.
#include "styleclip/run.h"

#include <utility>

#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr std::chrono::milliseconds kReportEvery{50};

}  // namespace

void RunContext::check() const {
  if (cancel != nullptr && cancel->is_set()) throw Aborted();
}

ProgressMeter::ProgressMeter(const RunContext& run, std::string phase, std::int64_t total, std::string unit)
    : run_(run), start_(std::chrono::steady_clock::now()), last_(start_) {
  progress_.phase = std::move(phase);
  progress_.total = total;
  progress_.unit = std::move(unit);
}

void ProgressMeter::step(std::int64_t n) {
  run_.check();
  progress_.done += n;
  if (!run_.progress) return;
  const auto now = std::chrono::steady_clock::now();
  const bool finished = progress_.done >= progress_.total;
  if (!finished && now - last_ < kReportEvery) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (seconds > 0 && progress_.done > 0) {
    progress_.rate = static_cast<double>(progress_.done) / seconds;
    progress_.seconds_left = static_cast<double>(progress_.total - progress_.done) / progress_.rate;
  }
  run_.progress(progress_);
}

void ProgressMeter::spare(std::int64_t n) {
  progress_.total -= n;
  step(0);
}

}  // namespace styleclip
