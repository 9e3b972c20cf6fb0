// What a checkpoint file holds, as plain data: the tree that unpickling would build, with every class but those that
// carry numbers left as an inert, named object. Nothing in a tree was ever called or imported.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace styleclip::checkpoint {

/// One value of the tree. Cheap to copy: copies share their contents (as Python's names do), and a tree may hold cycles,
/// which the Checkpoint that owns it breaks when it goes. Accessors throw FormatUnknown for a value of another kind.
class Value {
 public:
  enum class Kind { None, Bool, Int, Float, String, Bytes, List, Tuple, Set, Dict, Tensor, Object };
  struct Node;  // unpickler.cpp builds them

  Value() = default;  // None
  explicit Value(std::shared_ptr<Node> node) : node_(std::move(node)) {}

  Kind kind() const noexcept;
  bool is(Kind kind) const noexcept { return this->kind() == kind; }

  bool boolean() const;
  /// Bool or Int. An integer that does not fit 64 bits is a Float.
  std::int64_t integer() const;
  /// Bool, Int or Float.
  double number() const;
  /// String (UTF-8) or Bytes.
  const std::string& text() const;
  /// List, Tuple or Set, in the file's order; of an Object, what a list-like class was filled with.
  const std::vector<Value>& items() const;
  /// Dict (OrderedDict and defaultdict too), in the file's order; of an Object, what a dict-like class was filled with.
  const std::vector<std::pair<Value, Value>>& entries() const;
  /// A Tensor: torch's, a Parameter's, or a NumPy array of numbers. Strided as in the file; it may be a view of the mapped
  /// file, which it keeps alive, so it must not be written to (the mapping is read-only: a write ends the process). Where
  /// the file's layout needs a copy, the first call makes it, and may throw OutOfMemory. Safe from several threads.
  const at::Tensor& tensor() const;
  /// A Tensor's sizes and type, without its numbers: on libtorch's meta device. Nothing is read or copied.
  at::Tensor outline() const;
  /// Lets go of what tensor() made, of which references are invalid then; the next call makes it again. A copy of numbers
  /// that lie awkwardly in the file then belongs to whoever holds the tensor, alone.
  void forget_tensor() const;

  /// Object: "torch_utils.persistence._reconstruct_persistent_obj", "argparse.Namespace".
  const std::string& class_name() const;
  /// Object: what the class would have been called with (a Tuple), and what __setstate__ or __dict__ would have got
  /// (None when nothing).
  const Value& arguments() const;
  const Value& state() const;

  /// The value under a string key of a Dict, of what a dict-like Object was filled with, or of the Dict that is its state;
  /// nullptr when there is none, or for another kind.
  const Value* find(std::string_view key) const;

  const std::shared_ptr<Node>& node() const noexcept { return node_; }

 private:
  std::shared_ptr<Node> node_;
};

}  // namespace styleclip::checkpoint
