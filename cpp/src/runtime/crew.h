// Threads that each run libtorch by themselves, side by side. Inside an OpenMP region the thread that opened it and the
// others are not alike to MKL and oneDNN, and a sum's last bits would hang on which of them took it; threads of their own,
// each told that it is alone, are all alike.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace styleclip {

class Crew {
 public:
  /// Starts `threads` threads, at least one. `around` runs a thread's whole life: it is given what to run, and may hold
  /// guards about it, but not call prepare_thread() or set_threads(), which wait until the crew has started.
  Crew(int threads, const std::function<void(const std::function<void()>&)>& around);
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  /// work(0) … work(count − 1), each on one of the threads, and `done(i)` on the calling thread after each, in the order in
  /// which they end. After an exception, of `work` or of `done`, nothing more is begun; when all threads are idle it is thrown,
  /// and of several failures of `work` that of the lowest number. Not to be called from two threads at once.
  void run(std::size_t count, const std::function<void(std::size_t)>& work,
           const std::function<void(std::size_t)>& done);

 private:
  void serve();
  void stop_and_join() noexcept;

  std::mutex mutex_;
  std::condition_variable to_workers_, to_caller_;
  const std::function<void(std::size_t)>* work_ = nullptr;  // null between runs
  std::size_t next_ = 0, count_ = 0, busy_ = 0;
  std::vector<std::size_t> ended_;  // not yet told to done()
  std::exception_ptr failure_;
  std::size_t failed_ = 0;  // the piece of failure_
  bool stopping_ = false;
  std::size_t ready_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace styleclip
