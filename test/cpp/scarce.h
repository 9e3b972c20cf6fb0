// Memory that runs out when a test says so.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstddef>
#include <mutex>
#include <set>

#include "runtime/reused_memory.h"

namespace scarcity {

/// Notes the sizes of the blocks that it gives, then refuses those of any other size: what a smaller batch is made of
/// is there, what a larger one is made of is not. Blocks of less than a page are always there.
class Scarce final : public c10::Allocator {
 public:
  static Scarce& installed() {
    // Above the allocator that pools, which would not install itself over this one.
    static Scarce* const scarce = [] {
      const styleclip::MemoryPool pool(0);
      const styleclip::UseMemoryPool use(pool);
      auto* made = new Scarce(c10::GetCPUAllocator());
      c10::SetCPUAllocator(made, 2);
      return made;
    }();
    return *scarce;
  }
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes >= kPage) {
      const std::lock_guard lock(mutex_);
      if (noting) sizes_.insert(bytes);
      if (refusing && !sizes_.contains(bytes)) {
        ++refused;
        TORCH_CHECK_WITH(OutOfMemoryError, false, "not enough memory: ", bytes, " bytes");
      }
    }
    return below_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return below_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }

  void forget() {
    const std::lock_guard lock(mutex_);
    sizes_.clear();
  }

  std::atomic<bool> noting{false}, refusing{false};
  std::atomic<int> refused{0};

 private:
  static constexpr std::size_t kPage = 4096;
  std::mutex mutex_;
  std::set<std::size_t> sizes_;
  explicit Scarce(c10::Allocator* below) : below_(below) {}
  c10::Allocator* const below_;
};

}  // namespace scarcity
