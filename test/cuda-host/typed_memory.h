// Memory of exactly so many elements of a kernel's type, for tests of kernels on the CPU: AddressSanitizer sees what goes
// beyond it, and what was not written is NaN.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <type_traits>
#include <vector>

#include "element.h"
#include "elements.h"

namespace styleclip::checks {

template <typename T>
constexpr cuda::Element kElement = std::is_same_v<T, float>    ? cuda::Element::kFloat32
                                   : std::is_same_v<T, __half> ? cuda::Element::kFloat16
                                                               : cuda::Element::kBFloat16;

/// `offset`: elements before the first one, so that nothing is aligned for vectors.
template <typename T>
class Memory {
 public:
  Memory(std::int64_t count, std::int64_t offset)
      : count_(count), offset_(offset), memory_(new T[static_cast<std::size_t>(count + offset)]) {
    std::memset(memory_.get(), 0xff, static_cast<std::size_t>(count + offset) * sizeof(T));  // NaN
  }
  Memory(const std::vector<float>& values, std::int64_t offset)
      : Memory(static_cast<std::int64_t>(values.size()), offset) {
    std::transform(values.begin(), values.end(), data(), cuda::from_float<T>);
  }
  T* data() { return memory_.get() + offset_; }
  std::vector<float> values() const {
    std::vector<float> result;
    const T* from = memory_.get() + offset_;
    std::transform(from, from + count_, std::back_inserter(result), [](T x) { return cuda::to_float(x); });
    return result;
  }

 private:
  std::int64_t count_, offset_;
  std::unique_ptr<T[]> memory_;
};

inline const float* pointer(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace styleclip::checks
