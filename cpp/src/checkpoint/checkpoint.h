// Opens the files that people keep weights in, whatever the container, without running anything of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "checkpoint/value.h"
#include "styleclip/run.h"

namespace styleclip::checkpoint {

enum class Container {
  TorchZip,     // torch.save since 1.6: a zip of data.pkl and one file per storage
  TorchLegacy,  // torch.save before: pickles and raw storages one after another
  TorchScript,  // torch.jit.save: only its parameters and buffers, as a Dict under their full names
  Pickle,       // a plain pickle (NVIDIA's .pkl, StyleCLIP's S_mean_std); bytes after its end are not looked at
  Safetensors,  // a Dict of tensors
  Npy,          // one tensor
  Npz           // a Dict of tensors
};
const char* container_name(Container container) noexcept;  // "torch zip", "legacy torch", ...

/// Bounds on what a file may make us do; the defaults fit every published checkpoint.
struct Limits {
  std::uint64_t operations = 20'000'000;   // opcodes of all pickles of the file
  std::uint64_t values = 5'000'000;        // values alive in the tree
  std::uint64_t text_bytes = 256U << 20U;  // strings, byte strings and integers together
  std::uint64_t unpacked_bytes =
      64ULL << 30U;           // of deflated entries together; at most 100 x the file's size, or 64 MiB, too
  std::uint32_t depth = 500;  // of nesting
};

/// A file's contents. Tensors are views of the mapped file where the file stores them plainly.
class Checkpoint {
 public:
  /// Throws FileNotFound, FileDamaged (truncated, checksum, impossible sizes), FormatUnknown (of no container known; a
  /// pickle that asks for more than data says which call, by name) and OutOfMemory; Aborted between entries.
  static Checkpoint read(const std::string& path, const RunContext& run, const Limits& limits = {});
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();  // breaks the tree's cycles; tensors taken out of it stay valid

  const std::string& path() const noexcept;
  Container container() const noexcept;
  std::int64_t bytes() const noexcept;
  const std::string& sha256() const noexcept;  // of the file
  const Value& root() const noexcept;
  /// Safetensors' __metadata__, else empty.
  const std::map<std::string, std::string>& metadata() const noexcept;
  /// Told of memory that has been read: if it is a part of the mapped file, the file's pages are given back to the system,
  /// and reading maps them again. Other memory is left alone.
  void release(const void* data, std::size_t bytes) const noexcept;

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace styleclip::checkpoint
