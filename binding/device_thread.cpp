#include "device_thread.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>
#include <utility>

#include "job.h"
#include "styleclip/runtime.h"

namespace styleclip::binding {
namespace {

/// Process-wide and leaked: see device_thread.h.
struct Registry {
  std::mutex mutex;
  std::map<std::string, DeviceThread*> threads;  // by device
  const void* settings_owner = nullptr;
  std::atomic<int> thread_count{0};
};

Registry& registry() {
  static auto* const instance = new Registry;
  return *instance;
}

/// Signals belong to Node's threads: one handled on ours would run a handler in the middle of libtorch.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

DeviceThread& DeviceThread::of(const std::string& device) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  DeviceThread*& thread = all.threads[device];
  if (thread == nullptr) thread = new DeviceThread(device);
  return *thread;
}

bool DeviceThread::configure(const void* owner, int threads) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  if (all.settings_owner != nullptr && all.settings_owner != owner) return false;
  all.settings_owner = owner;
  all.thread_count = threads;
  return true;
}

DeviceThread::DeviceThread(std::string device) : device_(std::move(device)) {
  const BlockSignals inherited_by_the_new_thread;
  std::thread(&DeviceThread::loop, this).detach();
}

bool DeviceThread::offer(Lane& lane, Job* job) {
  {
    const std::lock_guard lock(mutex_);
    if (lane.jobs_.size() >= Lane::kPlaces) return false;
    if (lane.jobs_.empty()) turns_.push_back(&lane);
    lane.jobs_.push_back(job);
  }
  work_.notify_one();
  return true;
}

std::vector<Job*> DeviceThread::withdraw_cancelled(Lane& lane) {
  const std::lock_guard lock(mutex_);
  std::vector<Job*> withdrawn;
  std::erase_if(lane.jobs_, [&](Job* job) {
    if (!job->cancel().is_set()) return false;
    withdrawn.push_back(job);
    return true;
  });
  if (lane.jobs_.empty()) std::erase(turns_, &lane);
  return withdrawn;
}

void DeviceThread::discard(std::shared_ptr<void> object) {
  {
    const std::lock_guard lock(mutex_);
    discarded_.push_back(std::move(object));
  }
  work_.notify_one();
}

void DeviceThread::drain(Lane& lane) {
  std::unique_lock lock(mutex_);
  lane.jobs_.clear();
  std::erase(turns_, &lane);
  changed_.wait(lock, [&] { return running_ != &lane; });
}

void DeviceThread::wait_discarded() {
  std::vector<DeviceThread*> all;
  {
    const std::lock_guard lock(registry().mutex);
    for (const auto& [device, thread] : registry().threads) all.push_back(thread);
  }
  for (DeviceThread* thread : all) {
    std::unique_lock lock(thread->mutex_);
    thread->changed_.wait(
        lock, [&] { return thread->running_ != nullptr || (thread->discarded_.empty() && !thread->destroying_); });
  }
}

void DeviceThread::apply_settings() {
  const int wanted = registry().thread_count;
  if (wanted == applied_threads_) return;
  set_threads(wanted);
  applied_threads_ = wanted;
}

void DeviceThread::loop() {
  pthread_setname_np(pthread_self(), ("styleclip " + device_).substr(0, 15).c_str());
  bool prepared = false;
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return !discarded_.empty() || !turns_.empty(); });
    if (!discarded_.empty()) {
      std::vector<std::shared_ptr<void>> doomed = std::exchange(discarded_, {});
      destroying_ = true;
      lock.unlock();
      doomed.clear();
      lock.lock();
      destroying_ = false;
      changed_.notify_all();
      continue;
    }
    Lane& lane = *turns_.front();
    turns_.pop_front();
    Job* const job = lane.jobs_.front();
    lane.jobs_.pop_front();
    if (!lane.jobs_.empty()) turns_.push_back(&lane);
    running_ = &lane;
    lock.unlock();
    job->execute([&] {
      if (!prepared) prepare_thread();
      prepared = true;
      apply_settings();
    });
    lane.finished(job);
    lock.lock();
    running_ = nullptr;
    changed_.notify_all();
  }
}

}  // namespace styleclip::binding
