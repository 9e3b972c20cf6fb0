// See reused_memory.h. Sizes are rounded up so that batches of nearly equal sizes share blocks: to an eighth of the power
// of two below, so at most an eighth is wasted.
#include "runtime/reused_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace styleclip {

namespace {

constexpr std::size_t kSmallest = std::size_t{1} << 16;  // below, malloc does as well
constexpr std::size_t kPage = 4096, kHugePage = std::size_t{1} << 21;

std::size_t whole_pages(std::size_t size) { return (size + kPage - 1) / kPage * kPage; }

// Pages of the process's own, from huge ones on at a multiple of these; null where there are none.
void* map(std::size_t size) {
  const std::size_t spare = size >= kHugePage ? kHugePage - kPage : 0, all = size + spare;
  void* found = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED) return nullptr;
  if (spare == 0) return found;
  char* const begin = static_cast<char*>(found);
  const std::size_t past = reinterpret_cast<std::uintptr_t>(found) % kHugePage;
  char* const data = begin + (past == 0 ? 0 : kHugePage - past);
  if (data > begin) munmap(begin, static_cast<std::size_t>(data - begin));
  if (begin + all > data + size) munmap(data + size, begin + all - data - size);
  madvise(data, size, MADV_HUGEPAGE);  // where the system has them: fewer faults and misses
  return data;
}

}  // namespace

struct MemoryPool::State {
  mutable std::mutex mutex;
  std::map<std::size_t, std::vector<void*>> kept;  // by size
  std::int64_t kept_bytes = 0, used_bytes = 0, peak_bytes = 0, most_bytes = 0;
  bool open = true;

  // Null where the system has no more.
  void* take(std::size_t size) {
    const auto bytes = static_cast<std::int64_t>(size);
    const std::lock_guard lock(mutex);
    const auto found = kept.find(size);
    void* data = nullptr;
    if (found != kept.end()) {
      data = found->second.back();
      forget(found);
    } else {
      make_room(bytes);
      data = map(size);
      if (data == nullptr) {
        drop_all();
        data = map(size);
      }
      if (data == nullptr) return nullptr;
    }
    used_bytes += bytes;
    peak_bytes = std::max(peak_bytes, used_bytes + kept_bytes);
    return data;
  }
  void give_back(void* data, std::size_t size) {
    const std::lock_guard lock(mutex);
    used_bytes -= static_cast<std::int64_t>(size);
    if (!open || used_bytes + kept_bytes + static_cast<std::int64_t>(size) > most_bytes) {
      munmap(data, size);
      return;
    }
    kept[size].push_back(data);
    kept_bytes += static_cast<std::int64_t>(size);
  }
  void trim() {
    const std::lock_guard lock(mutex);
    drop_all();
  }

 private:
  // Frees kept blocks, the largest first, until `bytes` more are within the bound or none is kept.
  void make_room(std::int64_t bytes) {
    while (!kept.empty() && used_bytes + kept_bytes + bytes > most_bytes) drop_largest();
  }
  void drop_all() {
    while (!kept.empty()) drop_largest();
  }
  void drop_largest() {
    const auto last = std::prev(kept.end());
    munmap(last->second.back(), last->first);
    forget(last);
  }
  // The last block of a size is not kept any more.
  void forget(std::map<std::size_t, std::vector<void*>>::iterator size) {
    kept_bytes -= static_cast<std::int64_t>(size->first);
    size->second.pop_back();
    if (size->second.empty()) kept.erase(size);
  }
};

namespace {

thread_local std::shared_ptr<MemoryPool::State> in_use;

std::size_t round_up(std::size_t size) {
  const std::size_t step = std::max<std::size_t>(1, std::bit_floor(size) / 8);
  return whole_pages((size + step - 1) / step * step);
}

// Who a block in use belongs to. oneDNN's wrapper in libtorch frees by address alone, through raw_deleter(), whoever the
// address came from.
struct Registry {
  std::mutex mutex;
  struct Owner {
    std::shared_ptr<MemoryPool::State> pool;
    std::size_t size, asked;
  };
  std::unordered_map<void*, Owner> blocks;
  c10::DeleterFnPtr below = nullptr;  // of addresses that are not here
};
Registry& registry() {
  static auto* const instance = new Registry;
  return *instance;
}

// As the allocator below does: to those who count.
void report(void* data, std::int64_t bytes) {
  if (!c10::memoryProfilingEnabled()) return;
  c10::reportMemoryUsageToProfiler(data, bytes, 0, 0, c10::Device(c10::DeviceType::CPU));
}

void release(void* data) {
  Registry& all = registry();
  std::unique_lock lock(all.mutex);
  const auto found = all.blocks.find(data);
  if (found == all.blocks.end()) {
    lock.unlock();
    if (data != nullptr) all.below(data);
    return;
  }
  const Registry::Owner owner = std::move(found->second);
  all.blocks.erase(found);
  lock.unlock();
  owner.pool->give_back(data, owner.size);
  report(data, -static_cast<std::int64_t>(owner.asked));
}

class PoolingAllocator final : public c10::Allocator {
 public:
  explicit PoolingAllocator(c10::Allocator* below) : below_(below) { registry().below = below->raw_deleter(); }

  c10::DataPtr allocate(std::size_t bytes) override {
    if (in_use == nullptr || bytes < kSmallest) return below_->allocate(bytes);
    const std::size_t size = round_up(bytes);
    void* data = in_use->take(size);
    if (data == nullptr) return below_->allocate(bytes);  // says what it lacks
    {
      Registry& all = registry();
      const std::lock_guard lock(all.mutex);
      all.blocks[data] = {in_use, size, bytes};
    }
    report(data, static_cast<std::int64_t>(bytes));
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }

 private:
  c10::Allocator* const below_;
};

void install() {
  static const bool done = [] {
    if (c10::GetCPUAllocator()->raw_deleter() == nullptr)
      return false;  // one that has no addresses to free: left alone
    // Never destroyed: tensors may be made until the process ends.
    static auto* const allocator = new PoolingAllocator(c10::GetCPUAllocator());
    c10::SetCPUAllocator(allocator, 1);
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace

MemoryPool::MemoryPool(std::int64_t most_bytes) : state_(std::make_shared<State>()) { state_->most_bytes = most_bytes; }

MemoryPool::~MemoryPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->open = false;
  }
  state_->trim();
}

void MemoryPool::set_most(std::int64_t most_bytes) {
  const std::lock_guard lock(state_->mutex);
  state_->most_bytes = most_bytes;
}

void MemoryPool::trim() { state_->trim(); }

std::int64_t MemoryPool::kept_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->kept_bytes;
}

std::int64_t MemoryPool::peak_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->peak_bytes;
}

UseMemoryPool::UseMemoryPool(const MemoryPool& pool) {
  install();
  before_ = std::exchange(in_use, pool.state_);
}

UseMemoryPool::~UseMemoryPool() { in_use = std::move(before_); }

}  // namespace styleclip
