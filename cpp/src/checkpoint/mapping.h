// A file mapped into memory for reading. Tensors are views of the mapping and keep it alive; another program that
// shortens the file meanwhile takes pages away, and touching one of those ends the process (SIGBUS), as it does with
// every mapped file: the size is checked again after the checksum, which narrows the window without closing it.
#pragma once

#include <functional>
#include <string>

#include "checkpoint/slice.h"

namespace styleclip::checkpoint {

class Mapping {
 public:
  /// Throws FileNotFound (missing, a directory, no regular file) and FileDamaged (empty).
  explicit Mapping(std::string path);
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  const std::string& path() const noexcept { return path_; }
  std::size_t size() const noexcept { return size_; }
  const Slice& bytes() const noexcept { return bytes_; }

  /// The file in order, in pieces of at most 1 MiB with their offset. They are read, not mapped, so that a large file
  /// does not become resident because it was looked at once. Throws FileDamaged when the file became shorter or longer.
  void stream(const std::function<void(std::uint64_t at, const std::uint8_t* data, std::size_t size)>& piece) const;

  /// As Checkpoint::release.
  void release(const void* data, std::size_t bytes) const noexcept;

 private:
  std::string path_;
  int file_ = -1;
  std::size_t size_ = 0;
  Slice bytes_;
};

/// Gives all pages of the mapped file that a slice is a part of back to the system, if it is one; reading maps them again.
/// All, because the system maps more than what is touched: Linux from 6.18 on the whole folio around it, up to megabytes.
void release_pages(const Slice& bytes) noexcept;

}  // namespace styleclip::checkpoint
