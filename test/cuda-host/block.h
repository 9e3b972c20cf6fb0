// A block of threads on the CPU: what cuda_host.h's functions act on. A Thread knows its place; a Block owns shared
// memory and the meetings (one per warp, one of all) at which barriers and shuffles bring threads together; an Engine
// makes the threads run, as fibers or as real threads.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "shuffler.h"

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace cuda_host {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullMask = 0xffffffffu;
inline constexpr unsigned kMaxBlockThreads = 1024;  // CUDA C++ Programming Guide, "Technical Specifications"
inline constexpr std::size_t kMaxStaticSharedBytes = 48 * 1024;  // the same
inline constexpr std::size_t kMaxWords = 10;                     // that a lane hands in at a meeting of its warp

/// A kernel broke a rule of CUDA, or used what is not emulated.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// How grids run from now on in the calling thread.
struct Options {
  std::uint64_t seed = 1;     // orders blocks, and threads between barriers
  bool real_threads = false;  // else fibers
  // Of a grid that has at least so many blocks only the last 1 / parts run: of a tensor that is too large for all of
  // them.
  std::uint64_t parts = 1;
  // The device's. Shared memory of a block with opt-in: the least that devices from 8.0 on have (8.6, 8.9, 12.x).
  int compute_capability = 8;
  std::size_t shared_bytes = 99 * 1024;
};
Options& options();

/// Where a thread waits: the operation's name and its line in the kernel.
struct Site {
  const char* operation = nullptr;
  const char* file = nullptr;
  unsigned line = 0;
};

/// A place where a fixed set of threads meets, again and again. Two rows of slots take turns: a thread that writes the
/// row of round n + 2 has left round n + 1, so every thread has read its row of round n.
struct Meeting {
  struct Slot {
    std::array<std::atomic<std::uint64_t>, kMaxWords> words{};
    std::atomic<const char*> operation{nullptr};
    std::atomic<unsigned> line{0};
  };
  Meeting(int first_thread, int thread_count);

  const int first, size;
  std::atomic<std::uint64_t> arrivals{0};  // over all rounds
  std::atomic<std::uint64_t> released{0};  // threads only: arrivals of all rounds that are complete
  std::array<std::unique_ptr<Slot[]>, 2> slots;
  std::vector<int> waiting;  // fibers only
};

/// What the lanes of a warp handed in.
class WarpValues {
 public:
  explicit WarpValues(const Meeting::Slot* slots) : slots_(slots) {}
  std::uint64_t operator[](int lane) const { return word(lane, 0); }
  std::uint64_t word(int lane, std::size_t index) const {
    return slots_[lane].words[index].load(std::memory_order_relaxed);
  }

 private:
  const Meeting::Slot* slots_;
};

class Block;

/// A copy to shared memory that the thread has begun and not waited for.
struct Copy {
  void* to;
  const void* from;  // null: zeros
  std::size_t bytes;
};

struct Thread {
  Block* block = nullptr;
  int rank = 0;  // in its block
  uint3 thread;
  std::uint64_t warp_rounds = 0, block_rounds = 0;
  std::vector<Copy> copies;
  // For reports, by whichever thread makes them.
  std::atomic<const char*> operation{nullptr};
  std::atomic<const char*> file{nullptr};
  std::atomic<unsigned> line{0};
  std::atomic<bool> finished{false};

  int lane() const { return rank % kWarpSize; }
  void meet_block(const char* operation, const std::source_location& at);
  void sync_warp(const char* operation, unsigned mask, const std::source_location& at);
  WarpValues meet_warp(const char* operation, unsigned mask, std::span<const std::uint64_t> words,
                       const std::source_location& at);
};

/// The thread that is running.
Thread& self();
void set_self(Thread* thread);

/// Makes a block's threads run until all have finished, and lets them wait for each other.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual void run(Block& block, const std::function<void()>& kernel) = 0;
  /// Returns when the meeting has had `arrivals`. `ordered`: memory written before is seen after.
  virtual void wait(Thread& thread, Meeting& meeting, std::uint64_t arrivals, bool ordered) = 0;
};
std::unique_ptr<Engine> make_fibers(std::uint64_t seed);
std::unique_ptr<Engine> make_threads();

class Block {
 public:
  Block(Engine& engine, dim3 grid, dim3 threads, uint3 index, std::size_t dynamic_bytes);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  const uint3& index() const { return index_; }
  const dim3& threads() const { return threads_; }
  const dim3& grid() const { return grid_; }
  int size() const { return size_; }
  Engine& engine() { return engine_; }
  Thread& thread(int rank) { return members_[rank]; }
  Meeting& everyone() { return everyone_; }
  Meeting& warp(int index) { return *warps_[index]; }

  /// The block's variable of this key; made at first use. Calls from several threads are safe.
  void* shared_memory(const void* key, std::size_t bytes, std::size_t alignment);
  void* dynamic_shared_memory() { return dynamic_.get(); }
  /// The error for threads that wait for ever: names one that waits, and one that does not come.
  Error stuck();

 private:
  struct Variable {
    std::atomic<const void*> key;
    std::atomic<std::byte*> address;
  };

  Engine& engine_;
  dim3 grid_, threads_;
  uint3 index_;
  int size_;
  std::unique_ptr<Thread[]> members_;
  Meeting everyone_;
  std::vector<std::unique_ptr<Meeting>> warps_;
  std::unique_ptr<std::byte[]> shared_;
  std::unique_ptr<std::byte[]>
      dynamic_;  // of exactly the launch's size, so that AddressSanitizer sees what goes beyond it
  // Under a lock of relaxed atomics: one that ThreadSanitizer knew would order the threads and hide missing barriers.
  std::atomic<bool> shared_busy_{false};
  std::atomic<std::size_t> shared_used_{0};
  std::atomic<std::size_t> shared_counted_{0};  // without the gaps
  std::array<Variable, 64> variables_{};
  std::atomic<std::size_t> variable_count_{0};
};

bool is_valid_configuration(const dim3& blocks, const dim3& threads);
void run_grid(const dim3& blocks, const dim3& threads, std::size_t dynamic_bytes, const std::function<void()>& kernel);

}  // namespace cuda_host
