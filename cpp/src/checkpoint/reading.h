// One file being read: what it may cost, the values made of it, and how its failures are told.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/node.h"
#include "checkpoint/number_store.h"
#include "checkpoint/slice.h"
#include "styleclip/run.h"

namespace styleclip::checkpoint {

/// Owns every node of a tree. Values point at each other freely, in cycles too; the arena empties all nodes before it
/// lets any go, so that neither a cycle leaks nor a deep tree is torn down by recursion.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();
  Value add(Value::Kind kind);

 private:
  std::vector<std::shared_ptr<Value::Node>> nodes_;
};

class Reading {
 public:
  Reading(std::string path, std::uint64_t file_bytes, const RunContext& run, const Limits& limits);

  // Values; each throws Flaw when the file has used up what Limits grant.
  Value boolean(bool value);
  Value integer(std::int64_t value);
  Value number(double value);
  /// Short texts are copied, long ones stay in `bytes`.
  Value text(Value::Kind kind, const Slice& bytes);
  Value text(std::string text) { return owned_text(Value::Kind::String, std::move(text)); }
  Value owned_text(Value::Kind kind, std::string text);
  Value items(Value::Kind kind, Items items = {});
  Value dict(Entries entries = {});
  Value global(const std::string& name);  // one node a name
  Value object(Value type, Value arguments);
  Value tensor(std::shared_ptr<NumberStore> store, at::ScalarType type, std::int64_t offset,
               std::vector<std::int64_t> sizes, std::vector<std::int64_t> strides);
  Value storage(StoragePart part);

  /// The store of these very bytes, one however often they are named; `make` where it is not simply those bytes.
  using MakeStore = std::function<std::shared_ptr<NumberStore>()>;
  std::shared_ptr<NumberStore> store(const Slice& bytes, unsigned alignment, unsigned swap, const MakeStore& make = {});
  /// What `_codecs.encode(text, "latin1")` gives, once a text.
  std::map<const void*, Value> encoded;

  void operation();                          // one opcode
  void count_text(std::uint64_t bytes);      // text, bytes and integers that are copied
  void count_unpacked(std::uint64_t bytes);  // of deflated entries
  void count_values(std::uint64_t values);
  const Limits& limits() const noexcept { return limits_; }
  const RunContext& run() const noexcept { return run_; }
  const std::string& path() const noexcept { return path_; }

  /// Turns a Flaw into an Error that says where: "data.pkl at byte 17".
  [[noreturn]] void fail(const Flaw& flaw, const std::string& where) const;
  [[noreturn]] void fail(const Flaw& flaw) const { fail(flaw, ""); }

  /// Drops repeated keys of Dicts (the last one counts), and refuses a tree that nests deeper than Limits allow or that
  /// a walk would take for far larger than it is (a list of lists of lists of the same list).
  void finish(const Value& root);

  std::unique_ptr<Arena> take_arena() { return std::move(arena_); }

 private:
  Value add(Value::Kind kind, std::uint64_t weight = 1);

  std::string path_;
  std::uint64_t file_bytes_;
  const RunContext& run_;
  const Limits& limits_;
  std::unique_ptr<Arena> arena_ = std::make_unique<Arena>();
  std::uint64_t operations_ = 0, values_ = 0, text_bytes_ = 0, unpacked_bytes_ = 0;
  std::unordered_map<std::string, Value> globals_;
  std::map<std::tuple<const std::uint8_t*, std::size_t, unsigned, unsigned>, std::shared_ptr<NumberStore>> stores_;
};

}  // namespace styleclip::checkpoint
