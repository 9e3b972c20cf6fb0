// See reused_memory.h. Sizes are rounded up so that batches of nearly equal sizes share blocks: to an eighth of the power
// of two below, so at most an eighth is wasted.
#include "runtime/reused_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace styleclip {

struct MemoryPool::State {
  std::mutex mutex;
  std::map<std::size_t, std::vector<void*>> kept;  // by size
  std::int64_t kept_bytes = 0, most_bytes = 0;
  bool open = true;

  void* take(std::size_t size) {
    const std::lock_guard lock(mutex);
    const auto found = kept.find(size);
    if (found == kept.end() || found->second.empty()) return nullptr;
    void* data = found->second.back();
    found->second.pop_back();
    kept_bytes -= static_cast<std::int64_t>(size);
    return data;
  }
  void give_back(void* data, std::size_t size) {
    {
      const std::lock_guard lock(mutex);
      if (open && kept_bytes + static_cast<std::int64_t>(size) <= most_bytes) {
        kept[size].push_back(data);
        kept_bytes += static_cast<std::int64_t>(size);
        return;
      }
    }
    std::free(data);
  }
  void trim() {
    const std::lock_guard lock(mutex);
    for (auto& [size, blocks] : kept) {
      for (void* data : blocks) std::free(data);
    }
    kept.clear();
    kept_bytes = 0;
  }
};

namespace {

constexpr std::size_t kSmallest = std::size_t{1} << 16;  // below, malloc does as well
constexpr std::size_t kPage = 4096, kHugePage = std::size_t{1} << 21;

thread_local std::shared_ptr<MemoryPool::State> in_use;

std::size_t round_up(std::size_t size) {
  const std::size_t step = std::max<std::size_t>(1, std::bit_floor(size) / 8);
  return (size + step - 1) / step * step;
}

// Who a block in use belongs to. oneDNN's wrapper in libtorch frees by address alone, through raw_deleter(), whoever the
// address came from.
struct Registry {
  std::mutex mutex;
  struct Owner {
    std::shared_ptr<MemoryPool::State> pool;
    std::size_t size;
  };
  std::unordered_map<void*, Owner> blocks;
  c10::DeleterFnPtr below = nullptr;  // of addresses that are not here
};
Registry& registry() {
  static auto* const instance = new Registry;
  return *instance;
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
}

class PoolingAllocator final : public c10::Allocator {
 public:
  explicit PoolingAllocator(c10::Allocator* below) : below_(below) { registry().below = below->raw_deleter(); }

  c10::DataPtr allocate(std::size_t bytes) override {
    if (in_use == nullptr || bytes < kSmallest) return below_->allocate(bytes);
    const std::size_t size = round_up(bytes);
    void* data = in_use->take(size);
    if (data == nullptr) data = fresh(size);
    if (data == nullptr) {
      in_use->trim();
      return below_->allocate(bytes);  // says what it lacks
    }
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    all.blocks[data] = {in_use, size};
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }

 private:
  static void* fresh(std::size_t size) {
    void* data = nullptr;
    if (posix_memalign(&data, size >= kHugePage ? kHugePage : kPage, size) != 0) return nullptr;
    if (size >= kHugePage) madvise(data, size, MADV_HUGEPAGE);  // where the system has them: fewer faults and misses
    return data;
  }
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

void MemoryPool::trim() { state_->trim(); }

std::int64_t MemoryPool::kept_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->kept_bytes;
}

UseMemoryPool::UseMemoryPool(const MemoryPool& pool) {
  install();
  before_ = std::exchange(in_use, pool.state_);
}

UseMemoryPool::~UseMemoryPool() { in_use = std::move(before_); }

}  // namespace styleclip
