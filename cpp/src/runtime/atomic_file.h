// A file that appears whole or not at all: written to a temporary name beside its place, flushed, renamed.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace styleclip {

/// One file on its way. Used by one thread, which has SIGXFSZ held back meanwhile: beyond a file-size limit the kernel
/// would end the process with it; so write() fails with EFBIG instead. Gone without commit(), it leaves nothing behind.
class AtomicFile {
 public:
  /// Throws Disk when nothing can be written there.
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Throws Disk: full disk, quota, file-size limit.
  void write(const void* data, std::size_t bytes);
  /// Flushes to the disk and gives the file its name. Throws Disk.
  void commit();
  /// The same unless there is a file of that name already: false then, and that one stays as it is, also when several
  /// processes do it at once.
  bool commit_new();
  std::int64_t bytes() const noexcept { return bytes_; }

 private:
  void flush();
  void hold_signal() noexcept;
  void free_signal() noexcept;

  std::string path_, temporary_;
  std::int64_t bytes_ = 0;
  int descriptor_ = -1;
  bool created_ = false, committed_ = false, held_ = false;
  sigset_t signals_{}, before_{};
};

}  // namespace styleclip
