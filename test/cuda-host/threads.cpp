// A block's threads as real threads, for ThreadSanitizer. Waiting is polling, on atomics whose memory order is the
// emulated operation's own: a mutex would order everything and hide the races that are looked for.
#include <thread>

#include "block.h"

namespace cuda_host {
namespace {

/// Ends a thread whose block has failed.
struct Cancelled {};

class Threads final : public Engine {
 public:
  void run(Block& block, const std::function<void()>& kernel) override {
    block_ = &block;
    busy_.store(block.size(), std::memory_order_relaxed);
    std::vector<std::thread> threads;
    threads.reserve(static_cast<std::size_t>(block.size()));
    for (int rank = 0; rank < block.size(); ++rank) {
      threads.emplace_back([this, &block, &kernel, rank] {
        set_self(&block.thread(rank));
        try {
          kernel();
        } catch (const Cancelled&) {  // NOLINT(bugprone-empty-catch): the failure behind it is kept
        } catch (...) {
          fail(std::current_exception());
        }
        block.thread(rank).finished.store(true, std::memory_order_relaxed);
        busy_.fetch_sub(1, std::memory_order_relaxed);
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

  void wait(Thread&, Meeting& meeting, std::uint64_t arrivals, bool ordered) override {
    // The fences give the order that hardware needs; ThreadSanitizer does not see them.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint64_t before =
        meeting.arrivals.fetch_add(1, ordered ? std::memory_order_acq_rel : std::memory_order_relaxed);
    if (before + 1 == arrivals) {
      // The last to arrive counts the others as busy again, before any of them can wait anew.
      busy_.fetch_add(meeting.size - 1, std::memory_order_relaxed);
      meeting.released.store(arrivals, ordered ? std::memory_order_release : std::memory_order_relaxed);
    } else {
      busy_.fetch_sub(1, std::memory_order_relaxed);
      const auto order = ordered ? std::memory_order_acquire : std::memory_order_relaxed;
      while (meeting.released.load(order) < arrivals) {
        if (failed_.load(std::memory_order_relaxed)) throw Cancelled{};
        if (busy_.load(std::memory_order_relaxed) == 0) fail(std::make_exception_ptr(block_->stuck()));
        std::this_thread::yield();
      }
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }

 private:
  void fail(std::exception_ptr failure) {
    if (!failed_.exchange(true)) failure_ = std::move(failure);
  }

  Block* block_ = nullptr;
  std::atomic<int> busy_{0};  // threads that neither wait nor have finished
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;
};

}  // namespace

std::unique_ptr<Engine> make_threads() { return std::make_unique<Threads>(); }

}  // namespace cuda_host
