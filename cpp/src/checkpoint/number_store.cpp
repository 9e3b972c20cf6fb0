// Storages and strided views over the bytes of a file.
#include "checkpoint/number_store.h"

#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "checkpoint/mapping.h"
#include "styleclip/error.h"

namespace styleclip::checkpoint {
namespace {

constexpr std::uint64_t kPiece = 8U << 20U;
constexpr std::size_t kMostDimensions = 64;  // what libtorch's iterators take
/// An expanded tensor (stride 0) may stand for more bytes than it has; up to this many, or those of its store.
constexpr std::int64_t kMostExpandedBytes = 64LL << 20;

c10::Storage owned_storage(std::uint64_t bytes) {
  c10::Allocator* allocator = c10::GetCPUAllocator();
  return c10::Storage(c10::Storage::use_byte_size_t(), static_cast<std::size_t>(bytes),
                      allocator->allocate(static_cast<std::size_t>(bytes)), allocator, false);
}

c10::Storage mapped_storage(const Slice& bytes) {
  void* data = const_cast<std::uint8_t*>(bytes.data);
  c10::DataPtr pointer(
      data, new std::shared_ptr<const void>(bytes.owner),
      [](void* owner) { delete static_cast<std::shared_ptr<const void>*>(owner); }, c10::Device(c10::kCPU));
  return c10::Storage(c10::Storage::use_byte_size_t(), bytes.size, std::move(pointer), nullptr, false);
}

}  // namespace

NumberStore::NumberStore(Slice bytes, unsigned alignment, unsigned swap)
    : bytes_(std::move(bytes)), size_(bytes_.size), alignment_(alignment), swap_(swap) {}

NumberStore::NumberStore(std::uint64_t size, Fill fill, unsigned swap)
    : fill_(std::move(fill)), size_(size), swap_(swap) {}

NumberStore::NumberStore(std::uint64_t size, unsigned alignment) : size_(size), alignment_(alignment) {}

void NumberStore::set(Slice bytes) { bytes_ = std::move(bytes); }

c10::Storage NumberStore::storage() {
  const std::lock_guard lock(mutex_);
  if (made_) return made_;
  if (fill_ || size_ == 0) {
    c10::Storage owned = owned_storage(size_);
    if (size_ > 0) fill_(static_cast<std::uint8_t*>(owned.mutable_data()));
    made_ = std::move(owned);
  } else if (swap_ == 1 && reinterpret_cast<std::uintptr_t>(bytes_.data) % alignment_ == 0) {
    made_ = mapped_storage(bytes_);
    return made_;
  } else {
    c10::Storage owned = owned_storage(size_);
    auto* to = static_cast<std::uint8_t*>(owned.mutable_data());
    for (std::uint64_t at = 0; at < size_; at += kPiece) {
      std::memcpy(to + at, bytes_.data + at, std::min(kPiece, size_ - at));
      release_pages(bytes_);  // else a large tensor would be in memory twice
    }
    made_ = std::move(owned);
  }
  if (swap_ > 1) swap_bytes(static_cast<std::uint8_t*>(made_.mutable_data()), size_, swap_);
  return made_;
}

void NumberStore::forget() {
  const std::lock_guard lock(mutex_);
  made_ = c10::Storage();
}

LazyTensor::LazyTensor(std::shared_ptr<NumberStore> store, at::ScalarType type, std::int64_t offset,
                       std::vector<std::int64_t> sizes, std::vector<std::int64_t> strides)
    : store_(std::move(store)), type_(type), offset_(offset), sizes_(std::move(sizes)), strides_(std::move(strides)) {
  if (sizes_.size() != strides_.size())
    damaged("a tensor has " + std::to_string(sizes_.size()) + " sizes and " + std::to_string(strides_.size()) +
            " strides");
  const std::int64_t count = count_elements(sizes_);
  const auto element = static_cast<std::int64_t>(c10::elementSize(type_));
  const std::int64_t held = static_cast<std::int64_t>(store_->size()) / element;
  __int128 last = offset_;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    if (strides_[i] < 0) damaged("a tensor has a negative stride");
    if (sizes_[i] > 0) last += static_cast<__int128>(sizes_[i] - 1) * strides_[i];
  }
  if (offset_ < 0 || offset_ > held || (count > 0 && last >= held)) {
    damaged("a tensor reaches outside its storage of " + std::to_string(held) + " elements");
  }
  if (count > held && count > kMostExpandedBytes / element) {
    unknown("a tensor of " + std::to_string(count) + " elements repeats a storage of " + std::to_string(held));
  }
}

const at::Tensor& LazyTensor::tensor() {
  const std::lock_guard lock(mutex_);
  if (made_.defined()) return made_;
  at::Tensor made = at::empty({0}, at::TensorOptions(type_));
  made.set_(store_->storage(), offset_, sizes_, strides_);
  made_ = std::move(made);
  return made_;
}

void LazyTensor::forget() {
  const std::lock_guard lock(mutex_);
  made_ = at::Tensor();
  store_->forget();
}

std::vector<std::int64_t> dense_strides(const std::vector<std::int64_t>& sizes, bool fortran) {
  std::vector<std::int64_t> strides(sizes.size(), 1);
  std::int64_t next = 1;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::size_t at = fortran ? i : sizes.size() - 1 - i;
    strides[at] = next;
    next *= std::max<std::int64_t>(sizes[at], 1);
  }
  return strides;
}

std::int64_t count_elements(const std::vector<std::int64_t>& sizes) {
  if (sizes.size() > kMostDimensions) damaged("a tensor has " + std::to_string(sizes.size()) + " dimensions");
  __int128 count = 1, bound = 1;  // `bound` counts empty dimensions as 1, as strides do
  for (const std::int64_t size : sizes) {
    if (size < 0) damaged("a tensor has a negative size");
    count *= size;
    bound *= std::max<std::int64_t>(size, 1);
    if (bound >> 62 != 0) damaged("a tensor's sizes are impossible");
  }
  return static_cast<std::int64_t>(count);
}

void swap_bytes(std::uint8_t* data, std::uint64_t bytes, unsigned width) {
  for (std::uint64_t at = 0; at + width <= bytes; at += width) std::reverse(data + at, data + at + width);
}

unsigned swap_width(at::ScalarType type) {
  const auto width = static_cast<unsigned>(c10::elementSize(type));
  return c10::isComplexType(type) ? width / 2 : width;
}

}  // namespace styleclip::checkpoint
