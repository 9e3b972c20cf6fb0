#include "mailbox.h"

#include "job.h"

namespace styleclip::binding {

void Mailbox::wake() noexcept {
  if (std::exchange(awake_, true)) return;
  napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Mailbox::report(Job* job, const Progress& progress) {
  const std::lock_guard lock(mutex_);
  if (!job->newest_) reported_.push_back(job);
  job->newest_ = progress;
  wake();
}

void Mailbox::finished(Job* job) noexcept {
  const std::lock_guard lock(mutex_);
  finished_.push_back(job);
  wake();
}

void Mailbox::expect(std::size_t calls) {
  const std::lock_guard lock(mutex_);
  finished_.reserve(calls);
}

Mailbox::Mail Mailbox::take() {
  const std::lock_guard lock(mutex_);
  awake_ = false;
  Mail mail;
  mail.reports.reserve(reported_.size());
  mail.finished.reserve(finished_.size());
  for (Job* job : reported_) {
    if (const auto newest = std::exchange(job->newest_, std::nullopt)) mail.reports.emplace_back(job, *newest);
  }
  reported_.clear();
  mail.finished.assign(finished_.begin(), finished_.end());  // finished_ keeps its room
  finished_.clear();
  return mail;
}

void Mailbox::clear() {
  const std::lock_guard lock(mutex_);
  reported_.clear();
  finished_.clear();
}

}  // namespace styleclip::binding
