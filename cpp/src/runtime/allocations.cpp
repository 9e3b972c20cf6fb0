// The allocators report to whoever stands in the thread's profiler slot, as libtorch's own profiler does.
#include "runtime/allocations.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <memory>
#include <mutex>

namespace styleclip {
namespace {

class Counter final : public c10::MemoryReportingInfoBase {
 public:
  explicit Counter(at::Device device) : device_(device) {}

  void reportMemoryUsage(void* /*pointer*/, std::int64_t size, std::size_t /*allocated*/, std::size_t /*reserved*/,
                         c10::Device device) override {
    if (device.type() != device_.type()) return;
    const std::lock_guard lock(mutex_);
    held_ += size;
    if (size <= 0) return;
    ++found_.count;
    found_.bytes += size;
    found_.peak = std::max(found_.peak, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }

  Allocations found() const { return found_; }

 private:
  at::Device device_;
  std::mutex mutex_;
  Allocations found_;
  std::int64_t held_ = 0;
};

}  // namespace

Allocations allocations_of(at::Device device, const std::function<void()>& work) {
  const auto counter = std::make_shared<Counter>(device);
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
    work();
  }
  return counter->found();
}

}  // namespace styleclip
