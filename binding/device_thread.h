// The thread that runs libtorch: one per device and process, shared by all environments (the main thread and workers),
// made by the first call for its device.
//
// Why one thread: each thread that calls libtorch grows its own OpenMP pool, and libuv's four threads stay free for files
// and DNS. Why it is never destroyed: a process may leave through exit() while the thread waits, and a static object
// destroyed before its thread is a crash. The objects are leaked on purpose and the library is linked -z nodelete, so
// neither the thread nor its code ever goes away under it.
//
// Environments take turns: each has a lane of at most 64 jobs, the thread takes one job of each lane in rotation, so a
// thousand calls of one worker delay another worker's call by one job. Further calls wait in their environment's own
// list (environment.h), where only its JavaScript thread sees them.
//
// A lane does not own its jobs; the environment's table does. A job's pointer stays good until the job came back through
// Lane::finished or was taken out of the lane, and drain() makes sure of one or the other.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace styleclip::binding {

class Job;

/// Something whose inside is made of libtorch's objects: the environment that it belongs to has it let go of them, on the
/// device thread, before it goes away.
class DeviceObject {
 public:
  virtual ~DeviceObject() = default;
  /// Any thread, once no job can run any more.
  virtual void release() = 0;
};

/// One environment's places in the queue of one device thread.
class Lane {
 public:
  static constexpr std::size_t kPlaces = 64;

  virtual ~Lane() = default;
  /// Called on the device thread when a job has run; the last time that thread touches the job.
  virtual void finished(Job* job) noexcept = 0;

 private:
  friend class DeviceThread;
  std::deque<Job*> jobs_;  // guarded by the device thread's mutex
};

class DeviceThread {
 public:
  /// The thread of a device ("cpu", "cuda:0"), started by the first call.
  static DeviceThread& of(const std::string& device);
  /// Sets the thread count of libtorch on every device thread, from its next job on; 0 keeps the default. The first
  /// owner wins: a call with another `owner` changes nothing and returns false.
  static bool configure(const void* owner, int threads);

  DeviceThread(const DeviceThread&) = delete;
  DeviceThread& operator=(const DeviceThread&) = delete;

  /// Queues a job; false when the lane's places are taken.
  bool offer(Lane& lane, Job* job);
  /// Takes jobs that have not started out of the lane: those whose flag is set.
  std::vector<Job*> withdraw_cancelled(Lane& lane);
  /// Destroys something of libtorch's on the device thread, before the next job.
  void discard(std::shared_ptr<void> object);
  /// Empties the lane and waits until its running job, if any, has come back.
  void drain(Lane& lane);
  /// Waits until every device thread has destroyed what was discarded. A thread that runs a job is not waited for: the
  /// job is another environment's, whose own going away will wait.
  static void wait_discarded();

 private:
  explicit DeviceThread(std::string device);
  void loop();
  void apply_settings();

  const std::string device_;
  std::mutex mutex_;
  std::condition_variable work_;     // for the device thread: something to do
  std::condition_variable changed_;  // for draining threads: running_ or discarded_ changed
  std::deque<Lane*> turns_;          // lanes with jobs, the next one first
  std::vector<std::shared_ptr<void>> discarded_;
  Lane* running_ = nullptr;
  bool destroying_ = false;
  int applied_threads_ = 0;  // device thread only
};

}  // namespace styleclip::binding
