// While one lives, matrix products on this thread are computed by this thread alone, and in the order of one thread. Inside a
// parallel region MKL runs on one thread anyway, but the thread that opened the region still sums in the order of many, so
// that a sum's last bits would hang on which thread took it.
#pragma once

namespace styleclip {

class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = 0;
};

}  // namespace styleclip
