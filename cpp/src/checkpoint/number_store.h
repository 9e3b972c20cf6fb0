// Numbers of a file, turned into torch tensors when somebody asks for them. Checking is done at once and costs nothing;
// copying waits. A checkpoint with three networks of which one is wanted then costs the memory of one, even where the
// file's layout (unaligned, big-endian, deflated) makes copies necessary.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Storage.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "checkpoint/slice.h"

namespace styleclip::checkpoint {

/// What becomes one torch storage, shared by every tensor that views it.
class NumberStore {
 public:
  /// Writes size() bytes; may throw Flaw.
  using Fill = std::function<void(std::uint8_t* to)>;

  /// Bytes of the file as they are. `swap`: width in bytes of the numbers to be turned round, 1 for none. A view of the
  /// file when its address is a multiple of `alignment` and nothing is to be turned; else a copy.
  NumberStore(Slice bytes, unsigned alignment, unsigned swap = 1);
  /// Bytes that `fill` makes.
  NumberStore(std::uint64_t size, Fill fill, unsigned swap = 1);
  /// A legacy stream's storage, whose bytes follow later, through set().
  NumberStore(std::uint64_t size, unsigned alignment);
  void set(Slice bytes);
  bool pending() const noexcept { return !fill_ && bytes_.data == nullptr && size_ > 0; }

  std::uint64_t size() const noexcept { return size_; }
  /// Makes it at the first call. Safe from several threads.
  c10::Storage storage();
  /// Lets go of what storage() made.
  void forget();

 private:
  Slice bytes_;
  Fill fill_;
  std::uint64_t size_;
  unsigned alignment_ = 1, swap_ = 1;
  std::mutex mutex_;
  c10::Storage made_;
};

/// A strided view of a store; offset and strides count elements.
class LazyTensor {
 public:
  /// Throws Flaw unless every element lies in the store, and when the shape repeats so few numbers so often that a copy
  /// would be a bomb.
  LazyTensor(std::shared_ptr<NumberStore> store, at::ScalarType type, std::int64_t offset,
             std::vector<std::int64_t> sizes, std::vector<std::int64_t> strides);
  const at::Tensor& tensor();
  void forget();

  const std::vector<std::int64_t>& sizes() const noexcept { return sizes_; }
  at::ScalarType type() const noexcept { return type_; }

 private:
  std::shared_ptr<NumberStore> store_;
  at::ScalarType type_;
  std::int64_t offset_;
  std::vector<std::int64_t> sizes_, strides_;
  std::mutex mutex_;
  at::Tensor made_;
};

/// Strides of a dense array; `fortran`: the first dimension runs fastest.
std::vector<std::int64_t> dense_strides(const std::vector<std::int64_t>& sizes, bool fortran = false);

/// Elements of a shape, or a Flaw when that does not fit 62 bits, a size is negative or there are over 64 of them.
std::int64_t count_elements(const std::vector<std::int64_t>& sizes);

/// Turns round every number of `width` bytes.
void swap_bytes(std::uint8_t* data, std::uint64_t bytes, unsigned width);

/// The width in which bytes are turned: the element's, half of it for complex numbers.
unsigned swap_width(at::ScalarType type);

}  // namespace styleclip::checkpoint
