// Memory that libtorch's CPU tensors are made of again and again. A convolution's output of some megabytes comes fresh
// from the system each time it is made, and the page faults of writing to it first cost as much as the convolution; in a
// loop of equal batches the same blocks serve every round.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace styleclip {

/// Blocks given back by tensors, kept for the next ones. They are the system's own pages, not the heap's: what is freed is
/// gone from the process. Blocks that are still in use when the pool goes are freed by their tensors. Any thread may use it.
class MemoryPool {
 public:
  /// What is in use and what is kept stay within `most_bytes` together: blocks are kept as far as there is room beside those
  /// in use, which are never refused.
  explicit MemoryPool(std::int64_t most_bytes);
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// From now on; what is kept beyond it goes with the next block that is asked for or given back.
  void set_most(std::int64_t most_bytes);
  /// Frees what nobody uses.
  void trim();
  std::int64_t kept_bytes() const;
  /// In use and kept, the most that there was at once.
  std::int64_t peak_bytes() const;

  struct State;

 private:
  friend class UseMemoryPool;
  std::shared_ptr<State> state_;
};

/// While one lives, large CPU tensors made on this thread take their memory from the pool. Installs itself in libtorch
/// the first time, for good; threads without one are served as before.
class UseMemoryPool {
 public:
  explicit UseMemoryPool(const MemoryPool& pool);
  ~UseMemoryPool();
  UseMemoryPool(const UseMemoryPool&) = delete;
  UseMemoryPool& operator=(const UseMemoryPool&) = delete;

 private:
  std::shared_ptr<MemoryPool::State> before_;
};

}  // namespace styleclip
