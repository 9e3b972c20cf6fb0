#include "runtime/crew.h"

#include <ATen/Parallel.h>
#include <sched.h>

#include <algorithm>
#include <utility>

#include "runtime/thread_setting.h"

namespace styleclip {
namespace {

// Where there is a thread for every processor that the process may use, each keeps to its own: woken together by one
// thread, all of them were seen to stay on that thread's processor for good.
void keep_to_own_processor(std::size_t number, std::size_t of) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  if (static_cast<std::size_t>(CPU_COUNT(&allowed)) != of || of < 2) return;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (!CPU_ISSET(processor, &allowed)) continue;
    if (number-- > 0) continue;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(processor, &own);
    sched_setaffinity(0, sizeof own, &own);  // only a wish: a refusal costs speed
    return;
  }
}

}  // namespace

Crew::Crew(int threads, const std::function<void(const std::function<void()>&)>& around) {
  const std::lock_guard setting(thread_setting());
  const int before = at::get_num_threads();
  const auto wanted = static_cast<std::size_t>(std::max(1, threads));
  threads_.reserve(wanted);
  try {
    for (std::size_t i = 0; i < wanted; ++i) {
      threads_.emplace_back([this, around, i, wanted] {
        keep_to_own_processor(i, wanted);
        // First what is set on a new thread's first use, in libtorch and in what its headers put here; then our own.
        at::get_num_threads();
        at::internal::lazy_init_num_threads();
        at::set_num_threads(1);
        around([this] { serve(); });
      });
      // One after the other: what each sets is noted for the next, which must not take it for the caller's.
      std::unique_lock lock(mutex_);
      to_caller_.wait(lock, [&] { return ready_ > i; });
    }
  } catch (...) {
    stop_and_join();
    at::set_num_threads(before);
    throw;
  }
  at::set_num_threads(before);
}

Crew::~Crew() { stop_and_join(); }

void Crew::stop_and_join() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  to_workers_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Crew::serve() {
  std::unique_lock lock(mutex_);
  ++ready_;
  to_caller_.notify_one();
  for (;;) {
    to_workers_.wait(lock, [&] { return stopping_ || (work_ != nullptr && next_ < count_); });
    if (stopping_) return;
    const std::size_t mine = next_++;
    ++busy_;
    const auto& work = *work_;
    lock.unlock();
    std::exception_ptr failure;
    try {
      work(mine);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    --busy_;
    if (failure == nullptr) {
      ended_.push_back(mine);
    } else {
      // Pieces are begun in their order, so that all before this one have been: which of those that fail is told is no
      // matter of chance.
      if (failure_ == nullptr || mine < failed_) {
        failure_ = failure;
        failed_ = mine;
      }
      next_ = count_;
    }
    to_caller_.notify_one();
  }
}

void Crew::run(std::size_t count, const std::function<void(std::size_t)>& work,
               const std::function<void(std::size_t)>& done) {
  std::unique_lock lock(mutex_);
  work_ = &work;
  next_ = 0;
  count_ = count;
  to_workers_.notify_all();
  for (;;) {
    to_caller_.wait(lock, [&] { return !ended_.empty() || (next_ >= count_ && busy_ == 0); });
    if (ended_.empty()) break;
    const std::vector<std::size_t> ended = std::exchange(ended_, {});
    if (failure_ != nullptr) continue;
    lock.unlock();
    std::exception_ptr failure;
    try {
      for (const std::size_t one : ended) done(one);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure != nullptr) {
      if (failure_ == nullptr) {
        failure_ = failure;
        failed_ = 0;
      }
      next_ = count_;
    }
  }
  work_ = nullptr;
  if (const std::exception_ptr failure = std::exchange(failure_, nullptr)) std::rethrow_exception(failure);
}

}  // namespace styleclip
