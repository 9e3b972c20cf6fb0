// Files appear whole or not at all: written to a temporary name beside their place, flushed, renamed. libtorch's own
// Module::save(path) ends the process on a full disk, so every archive goes through here, from memory.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <string>
#include <utility>

#include "styleclip/error.h"
#include "styleclip/models.h"

namespace styleclip {
namespace {

// Beyond RLIMIT_FSIZE the kernel sends SIGXFSZ, which ends the process unless it is held back; write() then fails with
// EFBIG. The pending signal is taken away before the mask goes back to what it was.
class HoldFileSizeSignal {
 public:
  HoldFileSizeSignal() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGXFSZ);
    held_ = pthread_sigmask(SIG_BLOCK, &set_, &before_) == 0;
  }
  ~HoldFileSizeSignal() {
    if (!held_ || sigismember(&before_, SIGXFSZ) == 1) return;
#ifdef __linux__
    const timespec now{};
    while (sigtimedwait(&set_, nullptr, &now) > 0) {
    }
#else
    sigset_t pending;
    int signal = 0;
    while (sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1) sigwait(&set_, &signal);
#endif
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  HoldFileSizeSignal(const HoldFileSizeSignal&) = delete;
  HoldFileSizeSignal& operator=(const HoldFileSizeSignal&) = delete;

 private:
  sigset_t set_{}, before_{};
  bool held_ = false;
};

// The unfinished file: closed and removed unless it was committed.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {
    descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    created_ = descriptor_ >= 0;
  }
  ~TemporaryFile() {
    if (descriptor_ >= 0) close(descriptor_);
    if (created_ && !committed_) unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  bool opened() const { return created_; }
  bool write_all(const std::string& bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t wrote = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) return false;
      done += static_cast<std::size_t>(wrote);
    }
    return true;
  }
  bool flush_and_close() {
    if (fsync(descriptor_) != 0) return false;
    const int descriptor = descriptor_;
    descriptor_ = -1;
    return close(descriptor) == 0;
  }
  bool rename_to(const std::string& path) {
    committed_ = std::rename(path_.c_str(), path.c_str()) == 0;
    return committed_;
  }

 private:
  std::string path_;
  int descriptor_ = -1;
  bool created_ = false, committed_ = false;
};

[[noreturn]] void fail(const std::string& path, int error) {
  std::string remedy = "Check the directory, its permissions and the disk.";
  if (error == ENOSPC || error == EDQUOT) remedy = "The disk or quota is full: free some space, or write elsewhere.";
  if (error == EFBIG) remedy = "The process has a file-size limit (ulimit -f): raise it, or write a smaller file.";
  if (error == EACCES || error == EPERM || error == EROFS) remedy = "Writing is not permitted there: write elsewhere.";
  if (error == ENOENT) remedy = "Make the directory first.";
  throw Error(ErrorCode::Disk, "Cannot write " + path + ": " + std::strerror(error) + ".", remedy,
              std::strerror(error));
}

// So that the new name itself survives a power cut. A file system that cannot do it is no failure of the write.
void flush_directory(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  const int descriptor = open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

}  // namespace

void write_file_atomic(const std::string& path, const std::string& bytes) {
  static std::atomic<unsigned> counter{0};
  const HoldFileSizeSignal hold;
  struct stat there{};
  if (stat(path.c_str(), &there) == 0 && S_ISDIR(there.st_mode)) fail(path, EISDIR);
  TemporaryFile file(path + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(counter++));
  if (!file.opened() || !file.write_all(bytes) || !file.flush_and_close() || !file.rename_to(path)) fail(path, errno);
  flush_directory(path);
}

}  // namespace styleclip
