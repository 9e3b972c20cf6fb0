#include "environment.h"

#include <algorithm>
#include <optional>

#include "addon.h"
#include "cancel.h"

namespace styleclip::binding {

struct Environment::Call {
  Call(Napi::Env env, Post& post, std::unique_ptr<Job> job)
      : post(post), job(std::move(job)), deferred(Napi::Promise::Deferred::New(env)) {}

  Post& post;
  std::unique_ptr<Job> job;
  Napi::Promise::Deferred deferred;
  Napi::FunctionReference on_progress;
  std::optional<Napi::Error> thrown;  // by onProgress
  std::uint64_t cancel = 0;
};

struct Environment::Post final : Lane {
  Post(DeviceThread& thread, Mailbox& mailbox) : thread(thread), mailbox(mailbox) {}
  void finished(Job* job) noexcept override { mailbox.finished(job); }

  DeviceThread& thread;
  Mailbox& mailbox;
  std::deque<Job*> waiting;  // for a place in the lane; JavaScript thread only
};

RunArguments RunArguments::read(const Napi::Value& value) {
  RunArguments run;
  if (value.IsUndefined()) return run;
  if (!value.IsObject() || value.IsFunction()) {
    refuse(ErrorCode::Argument, "run must be an object", "Pass { cancel, onProgress } or {}.");
  }
  const auto object = value.As<Napi::Object>();
  if (const Napi::Value cancel = object.Get("cancel"); !cancel.IsUndefined()) {
    const Cancel& flag = Cancel::from(cancel);
    run.cancel = flag.id();
    run.aborted = flag.aborted();
  }
  if (const Napi::Value listener = object.Get("onProgress"); !listener.IsUndefined()) {
    if (!listener.IsFunction()) refuse(ErrorCode::Argument, "onProgress must be a function", "Pass a function.");
    run.on_progress = listener.As<Napi::Function>();
  }
  return run;
}

Environment& Environment::of(Napi::Env env) { return env.GetInstanceData<Addon>()->environment(); }

Environment::Environment(Napi::Env env) : env_(env) {
  array_buffer_ = Napi::Persistent(env.Global().Get("ArrayBuffer").As<Napi::Function>());
  const Napi::String name = Napi::String::New(env, "styleclip");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, on_wake, &wake_) !=
      napi_ok) {
    throw Napi::Error::New(env);
  }
  napi_unref_threadsafe_function(env, wake_);
  mailbox_ = std::make_unique<Mailbox>(wake_);
  napi_add_env_cleanup_hook(env, on_cleanup, this);
}

Environment::~Environment() {
  if (closed_) return;
  napi_remove_env_cleanup_hook(env_, on_cleanup, this);
  close();
}

Environment::Post& Environment::post_of(DeviceThread& thread) {
  for (const auto& post : posts_) {
    if (&post->thread == &thread) return *post;
  }
  return *posts_.emplace_back(std::make_unique<Post>(thread, *mailbox_));
}

Napi::Value Environment::submit(DeviceThread& thread, RunArguments run, std::unique_ptr<Job> job) {
  if (drained_) refuse(ErrorCode::Closed, "the process or worker is ending", "Make calls before its 'exit' event.");
  if (run.aborted) throw Aborted();
  Job* const id = job.get();
  auto call = std::make_unique<Call>(env_, post_of(thread), std::move(job));
  call->cancel = run.cancel;
  if (!run.on_progress.IsEmpty()) {
    call->on_progress = Napi::Persistent(run.on_progress);
    id->report_to(mailbox_.get());
  }
  const Napi::Promise promise = call->deferred.Promise();
  Post& post = call->post;
  mailbox_->expect(calls_.size() + 1);
  post.waiting.push_back(id);
  calls_.emplace(id, std::move(call));
  if (calls_.size() == 1) napi_ref_threadsafe_function(env_, wake_);
  refill(post);
  return promise;
}

void Environment::refill(Post& post) {
  while (!post.waiting.empty() && post.thread.offer(post, post.waiting.front())) post.waiting.pop_front();
}

void Environment::abort(std::uint64_t cancel) {
  for (const auto& [job, call] : calls_) {
    if (call->cancel == cancel) job->cancel().set();
  }
  std::vector<Job*> withdrawn;
  for (const auto& post : posts_) {
    for (Job* job : post->thread.withdraw_cancelled(*post)) withdrawn.push_back(job);
    std::erase_if(post->waiting, [&](Job* job) {
      if (!job->cancel().is_set()) return false;
      withdrawn.push_back(job);
      return true;
    });
    refill(*post);
  }
  for (Job* job : withdrawn) settle(job, true);
}

void Environment::report(Job* job, const Progress& progress) {
  const auto found = calls_.find(job);
  if (found == calls_.end() || found->second->thrown) return;
  const Napi::HandleScope scope(env_);
  Napi::Object report = Napi::Object::New(env_);
  report["phase"] = progress.phase;
  report["done"] = static_cast<double>(progress.done);
  report["total"] = static_cast<double>(progress.total);
  report["unit"] = progress.unit;
  report["rate"] = progress.rate;
  report["secondsLeft"] = progress.seconds_left;
  Napi::Object detail = Napi::Object::New(env_);
  for (const auto& [name, value] : progress.detail) detail[name] = value;
  report["detail"] = detail;
  try {
    found->second->on_progress.Call({report});
  } catch (const Napi::Error& error) {
    // Stops the call, which rejects with what was thrown. It may be gone: the listener can abort or drain.
    if (const auto again = calls_.find(job); again != calls_.end()) {
      again->second->thrown = error;
      job->cancel().set();
    }
  }
}

void Environment::settle(Job* job, bool withdrawn) {
  const auto found = calls_.find(job);
  if (found == calls_.end()) return;
  const std::unique_ptr<Call> call = std::move(found->second);
  calls_.erase(found);
  if (calls_.empty()) napi_unref_threadsafe_function(env_, wake_);
  refill(call->post);
  const Napi::HandleScope scope(env_);
  if (const auto& thrown = call->thrown) {
    call->deferred.Reject(thrown->Value());
    return;
  }
  try {
    if (withdrawn) throw Aborted();
    if (const auto& failure = job->failure()) {
      call->deferred.Reject(to_js(env_, *failure).Value());
      return;
    }
    call->deferred.Resolve(job->finish(env_));
  } catch (...) {
    call->deferred.Reject(current_error(env_, job->doing()).Value());
  }
}

void Environment::deliver() {
  const Mailbox::Mail mail = mailbox_->take();
  for (const auto& [job, progress] : mail.reports) report(job, progress);
  for (Job* job : mail.finished) settle(job, false);
}

void Environment::on_wake(napi_env env, napi_value /*function*/, void* context, void* /*data*/) noexcept {
  if (env == nullptr) return;  // the environment is terminating
  try {
    static_cast<Environment*>(context)->deliver();
  } catch (...) {  // NOLINT(bugprone-empty-catch)
    // Only an environment that is being terminated refuses to settle a promise; its promises have no listeners left.
  }
}

void Environment::adopt(const std::shared_ptr<DeviceObject>& object) {
  std::erase_if(objects_, [](const auto& known) { return known.expired(); });
  objects_.push_back(object);
}

Napi::ArrayBuffer Environment::array_buffer(std::size_t bytes) {
  return array_buffer_.New({Napi::Number::New(env_, static_cast<double>(bytes))}).As<Napi::ArrayBuffer>();
}

void Environment::drain() noexcept {
  if (drained_) return;
  drained_ = true;
  for (const auto& [job, call] : calls_) job->cancel().set();
  for (const auto& post : posts_) {
    post->waiting.clear();
    post->thread.drain(*post);
  }
  mailbox_->clear();
  if (!calls_.empty()) napi_unref_threadsafe_function(env_, wake_);
  calls_.clear();
  // Models are freed on their device threads; waiting for that keeps it from happening while the process exits.
  for (const auto& known : objects_) {
    if (const auto object = known.lock()) object->release();
  }
  objects_.clear();
  DeviceThread::wait_discarded();
}

void Environment::close() noexcept {
  closed_ = true;
  drain();
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
}

void Environment::on_cleanup(void* self) noexcept { static_cast<Environment*>(self)->close(); }

}  // namespace styleclip::binding
