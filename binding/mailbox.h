// The way back from the device thread to one environment's JavaScript thread: jobs that have run, and progress.
//
// Progress is coalesced: a job keeps its newest report only, so however slow the JavaScript side is, nothing piles up.
// A thread-safe function wakes the JavaScript thread; it carries no data, so one wake-up outstanding is enough.
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "setup.h"
#include "styleclip/run.h"

namespace styleclip::binding {

class Job;

class Mailbox {
 public:
  struct Mail {
    std::vector<std::pair<Job*, Progress>> reports;
    std::vector<Job*> finished;
  };

  /// `wake` is called on the device thread; it must outlive every job that reports here.
  explicit Mailbox(napi_threadsafe_function wake) : wake_(wake) {}

  // Device thread.
  void report(Job* job, const Progress& progress);
  void finished(Job* job) noexcept;

  // JavaScript thread.
  /// Makes room for that many finished jobs, so that finished() needs no memory.
  void expect(std::size_t calls);
  Mail take();
  void clear();

 private:
  void wake() noexcept;

  const napi_threadsafe_function wake_;
  std::mutex mutex_;
  std::vector<Job*> reported_;
  std::vector<Job*> finished_;
  bool awake_ = false;  // a wake-up is under way
};

}  // namespace styleclip::binding
