// One call, in three steps: arguments are converted on the JavaScript thread (before the job exists), `work` runs on the
// device thread, `finish` converts the result back on the JavaScript thread. A job holds no JavaScript reference, so it
// does not matter on which thread, or in what state of its environment, it is destroyed; the promise and the progress
// callback live in the environment's table (environment.h).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "errors.h"
#include "mailbox.h"
#include "setup.h"
#include "styleclip/run.h"

namespace styleclip::binding {

class Job {
 public:
  /// `doing` completes "could not …" in the message of an unexpected failure.
  explicit Job(std::string doing) : doing_(std::move(doing)) {}
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  /// Stops the job: before it starts, or between two batches.
  CancelFlag& cancel() noexcept { return cancel_; }
  /// Where progress goes; nullptr when nobody listens. Set before the job is queued.
  void report_to(Mailbox* mailbox) noexcept { reports_ = mailbox; }

  /// Device thread. `prepare` is run first, under the same translation of exceptions.
  template <class Prepare>
  void execute(Prepare&& prepare) noexcept {
    try {
      if (cancel_.is_set()) throw Aborted();
      prepare();
      RunContext run;
      run.cancel = &cancel_;
      if (reports_ != nullptr) run.progress = [this](const Progress& progress) { reports_->report(this, progress); };
      work(run);
    } catch (...) {
      failure_ = current_failure(doing_);
    }
  }

  /// JavaScript thread, after execute().
  const std::optional<Failure>& failure() const noexcept { return failure_; }
  const std::string& doing() const noexcept { return doing_; }
  virtual Napi::Value finish(Napi::Env env) = 0;

 protected:
  virtual void work(const RunContext& run) = 0;

 private:
  friend class Mailbox;
  const std::string doing_;
  CancelFlag cancel_;
  Mailbox* reports_ = nullptr;
  std::optional<Failure> failure_;
  std::optional<Progress> newest_;  // guarded by the mailbox
};

/// What an optional holds that must hold something.
template <class T>
T& held(std::optional<T>& value) {
  if (!value) throw Error(ErrorCode::Internal, "a job was taken out of its order", "Report this as a bug.");
  return *value;
}

/// A job from two functions: work(const RunContext&) -> Result or void, finish(Napi::Env, Result&&) or finish(Napi::Env).
template <class Work, class Finish>
class JobOf final : public Job {
  using Result = std::invoke_result_t<Work&, const RunContext&>;
  static constexpr bool kVoid = std::is_void_v<Result>;

 public:
  JobOf(std::string doing, Work work, Finish finish)
      : Job(std::move(doing)), work_(std::move(work)), finish_(std::move(finish)) {}

  Napi::Value finish(Napi::Env env) override {
    if constexpr (kVoid) {
      return finish_(env);
    } else {
      return finish_(env, std::move(held(result_)));
    }
  }

 protected:
  void work(const RunContext& run) override {
    if constexpr (kVoid) {
      held(work_)(run);
    } else {
      result_.emplace(held(work_)(run));
    }
    work_.reset();  // frees the inputs now, not when JavaScript comes to it
  }

 private:
  std::optional<Work> work_;
  Finish finish_;
  std::optional<std::conditional_t<kVoid, bool, Result>> result_;
};

}  // namespace styleclip::binding
