// One JavaScript environment (the main thread or a worker): its pending calls, its one thread-safe function, and its way
// out.
//
// Lifetime rules, each one paid for with crashes (shared/reference/libtorch-node.md, section 3):
// - The thread-safe function is referenced only while calls are pending: referenced for life it keeps the process from
//   ending, never referenced the process ends with promises unresolved.
// - drain() drops the queued calls, stops the running one and waits for it, one batch at most, and has the environment's
//   models freed. It runs from an environment cleanup hook added after the thread-safe function (hooks run last in, first
//   out, so before the function closes) and from a JavaScript 'exit' listener, because process.exit() and an uncaught
//   exception run no hooks. Dropped promises stay pending: nobody is left to hear of them.
// - After drain() the device thread knows nothing of this environment any more, and it takes no further call.
// - A callback that meets a terminating environment does nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "device_thread.h"
#include "job.h"
#include "mailbox.h"
#include "setup.h"

namespace styleclip::binding {

/// What `{ cancel, onProgress }` of a call says.
struct RunArguments {
  std::uint64_t cancel = 0;  // identity of the NativeCancel; 0: none
  bool aborted = false;      // it was aborted before the call
  Napi::Function on_progress;

  static RunArguments read(const Napi::Value& value);
};

class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  static Environment& of(Napi::Env env);

  /// Queues a call on a device thread; `run` is the argument with cancel and onProgress.
  template <class Work, class Finish>
  Napi::Value call(DeviceThread& thread, const Napi::Value& run, std::string doing, Work work, Finish finish) {
    return submit(thread, RunArguments::read(run),
                  std::make_unique<JobOf<Work, Finish>>(std::move(doing), std::move(work), std::move(finish)));
  }

  /// Stops the calls that were given this cancel: queued ones reject now, a running one after its batch.
  void abort(std::uint64_t cancel);
  std::uint64_t next_cancel() noexcept { return ++cancels_; }
  /// Calls whose promise is not settled.
  std::size_t pending() const noexcept { return calls_.size(); }
  /// See the top of this file. Idempotent.
  void drain() noexcept;
  /// drain() frees these.
  void adopt(const std::shared_ptr<DeviceObject>& object);
  /// An ArrayBuffer by JavaScript's own constructor, which throws a RangeError where Node-API's ends the process.
  Napi::ArrayBuffer array_buffer(std::size_t bytes);

 private:
  struct Call;
  struct Post;  // this environment's lane on one device thread, and the calls that wait for a place

  Napi::Value submit(DeviceThread& thread, RunArguments run, std::unique_ptr<Job> job);
  Post& post_of(DeviceThread& thread);
  void refill(Post& post);
  void deliver();
  void report(Job* job, const Progress& progress);
  void settle(Job* job, bool withdrawn);
  void close() noexcept;

  static void on_wake(napi_env env, napi_value function, void* context, void* data) noexcept;
  static void on_cleanup(void* self) noexcept;

  const Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::unique_ptr<Mailbox> mailbox_;
  Napi::FunctionReference array_buffer_;
  std::unordered_map<Job*, std::unique_ptr<Call>> calls_;
  std::vector<std::unique_ptr<Post>> posts_;
  std::vector<std::weak_ptr<DeviceObject>> objects_;
  std::uint64_t cancels_ = 0;
  bool drained_ = false;
  bool closed_ = false;  // drained, and the thread-safe function given up
};

}  // namespace styleclip::binding
