// What a Value points to. Only the code that builds trees includes this.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "checkpoint/number_store.h"
#include "checkpoint/slice.h"
#include "checkpoint/value.h"

namespace styleclip::checkpoint {

using Items = std::vector<Value>;
using Entries = std::vector<std::pair<Value, Value>>;

/// Text or bytes: short ones copied, long ones left in the file until somebody wants them as a std::string. A tensor may
/// outlive the tree and keep `copy` alive.
struct Text {
  std::shared_ptr<const std::string> copy;
  std::unique_ptr<Slice> mapped;
};

/// A class or function that a pickle names: "torch.FloatStorage".
struct Global {
  std::string name;
};

struct ObjectParts {
  Value type;  // its Global
  Value arguments, state;
  Items items;      // what a list-like object was filled with
  Entries entries;  // what a dict-like object was filled with
};

/// A torch storage, or a part of one. `scalar` is none for untyped storages, whose elements are bytes.
struct StoragePart {
  Value type;  // its Global
  std::shared_ptr<NumberStore> store;
  std::optional<at::ScalarType> scalar;
  std::int64_t offset = 0;  // elements
  bool big_endian = false;  // of an untyped one, whose bytes could not be turned yet
};

struct Value::Node {
  Kind kind = Kind::None;
  std::variant<std::monostate, bool, std::int64_t, double, Text, Items, Entries, std::unique_ptr<LazyTensor>, Global,
               std::unique_ptr<ObjectParts>, std::unique_ptr<StoragePart>>
      data;

  void clear() {
    data = std::monostate{};
    kind = Kind::None;
  }
};

/// The alternative of a node, or nullptr for another one (and for None).
template <typename T>
T* held(const Value& value) {
  return value.node() ? std::get_if<T>(&value.node()->data) : nullptr;
}

inline ObjectParts* object_of(const Value& value) {
  auto* parts = held<std::unique_ptr<ObjectParts>>(value);
  return parts != nullptr ? parts->get() : nullptr;
}

inline StoragePart* storage_of(const Value& value) {
  auto* part = held<std::unique_ptr<StoragePart>>(value);
  return part != nullptr ? part->get() : nullptr;
}

inline LazyTensor* lazy_tensor_of(const Value& value) {
  auto* tensor = held<std::unique_ptr<LazyTensor>>(value);
  return tensor != nullptr ? tensor->get() : nullptr;
}

/// The bytes of a String or Bytes, with what keeps them alive.
Slice bytes_of(const Value& value);

/// "a Dict", "a Tensor"…: for messages.
const char* kind_name(Value::Kind kind) noexcept;

}  // namespace styleclip::checkpoint
