// libtorch's number of threads is each thread's own, but what one thread sets is also noted for threads to come.
#pragma once

#include <mutex>

namespace styleclip {

/// Held while that note passes through a number that no later thread may begin with, and while a thread begins.
std::mutex& thread_setting();

}  // namespace styleclip
