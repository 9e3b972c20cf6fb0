// Python's pickle machine (PEP 307, 3154, 574; Lib/pickletools.py), protocols 0 to 5, that builds data and calls nothing.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "checkpoint/reading.h"

namespace styleclip::checkpoint {

class Unpickler {
 public:
  /// What a persistent id ("the storage '0' of 512 floats") stands for.
  using PersistentLoad = std::function<Value(const Value& id)>;

  /// `where` names the stream in messages. Without `load`, a persistent id is an error.
  Unpickler(Reading& reading, Slice bytes, std::string where, PersistentLoad load = {}, unsigned nesting = 0);

  /// Reads one pickle; further ones follow in legacy torch files. Throws Error, with the place.
  Value next();
  std::size_t position() const noexcept { return position_; }

 private:
  Value run();
  /// One opcode; true at STOP.
  bool step(std::uint8_t opcode);
  bool step_number(std::uint8_t opcode);
  bool step_text(std::uint8_t opcode);
  bool step_container(std::uint8_t opcode);
  bool step_object(std::uint8_t opcode);
  bool step_memo(std::uint8_t opcode);

  std::uint8_t byte();
  template <typename T>
  T number();
  Slice take(std::uint64_t bytes);
  std::string line();

  void push(Value value);
  Value pop();
  Value& top();
  Items pop_to_mark();

  void integer_text(const std::string& text, bool may_be_bool);
  void long_integer(std::uint64_t bytes);
  void global(const std::string& module, const std::string& name);
  Value call(const Value& callable, const Value& arguments);
  Value instantiate(const Value& type, const Value& arguments);
  void build();
  void append(const Value& list, Items items);
  void set_items(const Value& dict, Items pairs);
  void memoize(std::uint64_t key);
  void recall(std::uint64_t key);

  Reading& reading_;
  Slice bytes_;
  std::string where_;
  PersistentLoad load_;
  unsigned nesting_;
  std::size_t position_ = 0, opcode_at_ = 0;
  std::vector<Value> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, Value> memo_;
};

}  // namespace styleclip::checkpoint
