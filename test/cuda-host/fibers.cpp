// A block's threads as fibers of the calling thread. They switch only where a thread waits; the next one to go on is
// drawn from the seed: a warp, then one of its lanes. How long a warp is preferred is drawn for each block, from not at
// all to until it can go no further, since some races need one warp far ahead of another. Waiting threads that nobody
// can wake any more are a divergent barrier.
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <system_error>

#include "block.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_host {
namespace {

constexpr std::size_t kStackBytes = 256 * 1024;

/// A fiber's stack, with a page below it that cannot be touched.
class Stack {
 public:
  Stack() : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))) {
    void* memory = mmap(nullptr, page_ + kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page_, PROT_NONE) != 0) {
      throw std::system_error(errno, std::generic_category(), "stack of a fiber");
    }
    memory_ = static_cast<std::byte*>(memory);
  }
  ~Stack() {
    clean();
    munmap(memory_, page_ + kStackBytes);
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  void* bottom() const { return memory_ + page_; }
  /// Forgets what AddressSanitizer remembers of frames that never returned.
  void clean() {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(bottom(), kStackBytes);
#endif
  }

 private:
  std::size_t page_;
  std::byte* memory_;
};

struct Fiber {
  ucontext_t context;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

std::unique_ptr<Stack>& stack_of(std::size_t rank) {
  thread_local std::vector<std::unique_ptr<Stack>> stacks;  // kept for the next block
  while (stacks.size() <= rank) stacks.push_back(std::make_unique<Stack>());
  return stacks[rank];
}

class Fibers final : public Engine {
 public:
  explicit Fibers(std::uint64_t seed) : shuffler_(seed) {
    constexpr std::size_t kSteps[] = {1, 64, 1 << 20};
    patience_ = kSteps[shuffler_.below(3)];
  }

  void run(Block& block, const std::function<void()>& kernel) override {
    block_ = &block;
    kernel_ = &kernel;
    fibers_ = std::make_unique<Fiber[]>(static_cast<std::size_t>(block.size()));
    runnable_.resize(static_cast<std::size_t>(block.size() / kWarpSize));
    for (int rank = 0; rank < block.size(); ++rank) {
      prepare(rank);
      make_runnable(rank);
    }
    int finished = 0;
    starting = this;
    while (runnable_count_ > 0 && failure_ == nullptr) {
      current_ = choose();
      set_self(&block.thread(current_));
      enter(current_);
      set_self(nullptr);
      finished += block.thread(current_).finished ? 1 : 0;
    }
    if (failure_ != nullptr) std::rethrow_exception(failure_);  // the other fibers are abandoned where they are
    if (finished < block.size()) throw block.stuck();
  }

  void wait(Thread& thread, Meeting& meeting, std::uint64_t arrivals, bool) override {
    meeting.waiting.push_back(thread.rank);
    if (meeting.arrivals.fetch_add(1, std::memory_order_relaxed) + 1 == arrivals) {
      for (const int rank : meeting.waiting) make_runnable(rank);
      meeting.waiting.clear();
    }
    leave(fibers_[thread.rank], false);
  }

 private:
  static void start() { starting->body(); }

  void body() {
    entered(nullptr);
    const int rank = current_;
    try {
      (*kernel_)();
    } catch (...) {
      failure_ = std::current_exception();
    }
    block_->thread(rank).finished = true;
    leave(fibers_[rank], true);
  }

  void make_runnable(int rank) {
    runnable_[static_cast<std::size_t>(rank / kWarpSize)].push_back(rank);
    ++runnable_count_;
  }

  int choose() {
    if (runnable_[warp_].empty() || shuffler_.below(patience_) == 0) {
      do {
        warp_ = shuffler_.below(runnable_.size());
      } while (runnable_[warp_].empty());
    }
    std::vector<int>& lanes = runnable_[warp_];
    const int chosen = std::exchange(lanes[shuffler_.below(lanes.size())], lanes.back());
    lanes.pop_back();
    --runnable_count_;
    return chosen;
  }

  void prepare(int rank) {
    const auto& stack = stack_of(static_cast<std::size_t>(rank));
    stack->clean();
    ucontext_t& context = fibers_[rank].context;
    getcontext(&context);
    context.uc_stack.ss_sp = stack->bottom();
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, &Fibers::start, 0);
  }

  /// Scheduler to fiber.
  void enter(int rank) {
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, stack_of(static_cast<std::size_t>(rank))->bottom(), kStackBytes);
    swapcontext(&scheduler_, &fibers_[rank].context);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    swapcontext(&scheduler_, &fibers_[rank].context);
#endif
  }

  /// Fiber to scheduler; comes back when the scheduler enters the fiber again.
  void leave(Fiber& fiber, bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.fake_stack, scheduler_bottom_, scheduler_size_);
#else
    static_cast<void>(for_good);
#endif
    swapcontext(&fiber.context, &scheduler_);
    entered(fiber.fake_stack);
  }

  void entered(void* fake_stack) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack, &scheduler_bottom_, &scheduler_size_);
#else
    static_cast<void>(fake_stack);
#endif
  }

  inline static thread_local Fibers* starting = nullptr;  // whose fibers this thread runs

  Shuffler shuffler_;
  Block* block_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  std::unique_ptr<Fiber[]> fibers_;
  std::vector<std::vector<int>> runnable_;  // by warp
  std::size_t runnable_count_ = 0;
  std::size_t warp_ = 0;
  std::size_t patience_;  // steps that a warp is preferred for, on average
  int current_ = 0;
  std::exception_ptr failure_;
  ucontext_t scheduler_;
#if defined(__SANITIZE_ADDRESS__)
  const void* scheduler_bottom_ = nullptr;
  std::size_t scheduler_size_ = 0;
#endif
};

}  // namespace

std::unique_ptr<Engine> make_fibers(std::uint64_t seed) { return std::make_unique<Fibers>(seed); }

}  // namespace cuda_host
