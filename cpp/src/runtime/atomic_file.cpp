// Temporary name, write, fsync, rename, fsync of the directory. libtorch's own Module::save(path) ends the process on a
// full disk, so every archive goes through here, in pieces or from memory.
#include "runtime/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <utility>

#include "styleclip/error.h"
#include "styleclip/models.h"

namespace styleclip {
namespace {

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

void AtomicFile::hold_signal() noexcept {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGXFSZ);
  held_ = pthread_sigmask(SIG_BLOCK, &signals_, &before_) == 0;
}

// The pending signal is taken away before the mask goes back to what it was.
void AtomicFile::free_signal() noexcept {
  if (!held_ || sigismember(&before_, SIGXFSZ) == 1) return;
#ifdef __linux__
  const timespec now{};
  while (sigtimedwait(&signals_, nullptr, &now) > 0) {
  }
#else
  sigset_t pending;
  int signal = 0;
  while (sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1) sigwait(&signals_, &signal);
#endif
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  static std::atomic<unsigned> counter{0};
  struct stat there{};
  if (stat(path_.c_str(), &there) == 0 && S_ISDIR(there.st_mode)) fail(path_, EISDIR);
  temporary_ = path_ + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(counter++);
  descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  created_ = descriptor_ >= 0;
  if (!created_) fail(path_, errno);
  hold_signal();
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (created_ && !committed_) unlink(temporary_.c_str());
  free_signal();
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote = ::write(descriptor_, at, bytes);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) fail(path_, wrote < 0 ? errno : ENOSPC);
    at += wrote;
    bytes -= static_cast<std::size_t>(wrote);
    bytes_ += wrote;
  }
}

void AtomicFile::flush() {
  if (fsync(descriptor_) != 0) fail(path_, errno);
  const int descriptor = std::exchange(descriptor_, -1);
  if (close(descriptor) != 0) fail(path_, errno);
}

bool AtomicFile::commit_new() {
  flush();
  // A second name for the same file, which fails where there is one; the destructor takes the temporary name away.
  if (link(temporary_.c_str(), path_.c_str()) == 0) {
    flush_directory(path_);
    return true;
  }
  if (errno == EEXIST) return false;
  // A file system without hard links: not safe against another process at the same moment, else the same.
  if (access(path_.c_str(), F_OK) == 0) return false;
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, errno);
  committed_ = true;
  flush_directory(path_);
  return true;
}

void AtomicFile::commit() {
  flush();
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, errno);
  committed_ = true;
  flush_directory(path_);
}

void write_file_atomic(const std::string& path, const std::string& bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

}  // namespace styleclip
