// POSIX mapping of a whole file.
#include "checkpoint/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace styleclip::checkpoint {
namespace {

[[noreturn]] void not_found(const std::string& what, const std::string& remedy) {
  throw Error(ErrorCode::FileNotFound, what, remedy);
}

[[noreturn]] void changed(const std::string& path) {
  throw Error(ErrorCode::FileDamaged, path + " changed while it was read.",
              "Wait until it is complete, and try again.");
}

}  // namespace

Mapping::Mapping(std::string path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe would wait for its other end.
  file_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file_ < 0) {
    not_found("Cannot open " + path_ + ": " + std::strerror(errno) + ".", "Check the path and its permissions.");
  }
  struct stat about{};
  const bool regular = ::fstat(file_, &about) == 0 && S_ISREG(about.st_mode);
  if (!regular || about.st_size == 0) {
    const bool directory = S_ISDIR(about.st_mode);
    ::close(std::exchange(file_, -1));
    if (regular) throw Error(ErrorCode::FileDamaged, path_ + " is empty.", "Get the file again.");
    not_found(path_ + (directory ? " is a directory." : " is no regular file."), "Give a checkpoint file.");
  }
  size_ = static_cast<std::size_t>(about.st_size);
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    ::close(std::exchange(file_, -1));
    if (error == ENOMEM) {
      throw Error(ErrorCode::OutOfMemory, "Cannot map " + path_ + ": no address space is left.",
                  "Raise the limit of virtual memory (ulimit -v).", std::strerror(error));
    }
    not_found("Cannot map " + path_ + ": " + std::strerror(error) + ".", "Copy the file to a local disk.");
  }
  ::madvise(data, size_, MADV_SEQUENTIAL);  // advice only: a failure costs speed
#if defined(MADV_NOHUGEPAGE)
  // Else one touched byte may count as two megabytes of this process.
  ::madvise(data, size_, MADV_NOHUGEPAGE);
#endif
  const std::size_t size = size_;
  bytes_ = {static_cast<const std::uint8_t*>(data), size,
            std::shared_ptr<const void>(data, [size](const void* at) { ::munmap(const_cast<void*>(at), size); }), size};
}

Mapping::~Mapping() {
  if (file_ >= 0) ::close(file_);
}

void Mapping::stream(
    const std::function<void(std::uint64_t at, const std::uint8_t* data, std::size_t size)>& piece) const {
  std::vector<std::uint8_t> buffer(std::min<std::size_t>(size_, 1U << 20U));
  for (std::size_t at = 0; at < size_;) {
    const ssize_t got = ::pread(file_, buffer.data(), std::min(buffer.size(), size_ - at), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(ErrorCode::FileDamaged, "Cannot read " + path_ + ": " + std::strerror(errno) + ".",
                  "Check the disk, or get the file again.");
    }
    if (got == 0) changed(path_);
    piece(at, buffer.data(), static_cast<std::size_t>(got));
    at += static_cast<std::size_t>(got);
  }
  struct stat about{};
  if (::fstat(file_, &about) != 0 || static_cast<std::size_t>(about.st_size) != size_) changed(path_);
}

void Mapping::release(const void* data, std::size_t bytes) const noexcept {
  const auto start = reinterpret_cast<std::uintptr_t>(bytes_.data), end = start + size_;
  const auto from = reinterpret_cast<std::uintptr_t>(data);
  if (from >= start && from <= end && bytes <= end - from) release_pages(bytes_);
}

void release_pages(const Slice& bytes) noexcept {
  if (bytes.mapped > 0) ::madvise(const_cast<void*>(bytes.owner.get()), bytes.mapped, MADV_DONTNEED);
}

}  // namespace styleclip::checkpoint
