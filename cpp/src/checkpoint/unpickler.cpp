// The pickle machine: a stack, marks on it, and a memo. Each opcode's meaning is in Lib/pickletools.py of CPython. Nothing
// here recurses over the input; the only way down is a byte string with a stream inside, which CallSite bounds.
#include "checkpoint/unpickler.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <iterator>
#include <utility>

#include "checkpoint/pickle_globals.h"
#include "checkpoint/pickle_text.h"

namespace styleclip::checkpoint {
namespace {

constexpr std::uint8_t kHighestProtocol = 5;
constexpr std::size_t kLongestName = 1024;    // of a class
constexpr std::size_t kLongestDigits = 4300;  // as CPython's own limit for integers

std::string hexadecimal(std::uint8_t byte) {
  return {'0', 'x', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
}

}  // namespace

Unpickler::Unpickler(Reading& reading, Slice bytes, std::string where, PersistentLoad load, unsigned nesting)
    : reading_(reading),
      bytes_(std::move(bytes)),
      where_(std::move(where)),
      load_(std::move(load)),
      nesting_(nesting) {}

Value Unpickler::next() {
  stack_.clear();
  marks_.clear();
  memo_.clear();
  try {
    return run();
  } catch (const Flaw& flaw) {
    reading_.fail(flaw, (where_.empty() ? "" : where_ + " ") + "at byte " + std::to_string(opcode_at_));
  }
}

Value Unpickler::run() {
  while (true) {
    opcode_at_ = position_;
    reading_.operation();
    if (step(byte())) return pop();
  }
}

bool Unpickler::step(std::uint8_t opcode) {
  if (opcode == '.') return true;
  const bool known =
      step_number(opcode) || step_text(opcode) || step_container(opcode) || step_object(opcode) || step_memo(opcode);
  if (!known) damaged("the unknown opcode " + hexadecimal(opcode));
  return false;
}

bool Unpickler::step_number(std::uint8_t opcode) {
  switch (opcode) {
    case 'N': push({}); return true;
    case 0x88: push(reading_.boolean(true)); return true;
    case 0x89: push(reading_.boolean(false)); return true;
    case 'J': push(reading_.integer(static_cast<std::int32_t>(number<std::uint32_t>()))); return true;
    case 'K': push(reading_.integer(byte())); return true;
    case 'M': push(reading_.integer(number<std::uint16_t>())); return true;
    case 'I': integer_text(line(), true); return true;
    case 'L': integer_text(line(), false); return true;
    case 0x8a: long_integer(byte()); return true;
    case 0x8b: long_integer(number<std::uint32_t>()); return true;
    case 'F': push(reading_.number(parse_float(line()))); return true;
    case 'G': push(reading_.number(std::bit_cast<double>(load_number<std::uint64_t>(take(8).data, true)))); return true;
    default: return false;
  }
}

bool Unpickler::step_text(std::uint8_t opcode) {
  const auto unicode = [&](const Slice& text) {
    if (!is_utf8(text.text())) damaged("a string is not UTF-8");
    push(reading_.text(Value::Kind::String, text));
  };
  switch (opcode) {
    case 'S': push(reading_.text(unquote(line()))); return true;
    // Python 2's byte strings: text of an unknown encoding, or an array's raw bytes.
    case 'T': push(reading_.text(Value::Kind::String, take(number<std::uint32_t>()))); return true;
    case 'U': push(reading_.text(Value::Kind::String, take(byte()))); return true;
    case 'V': push(reading_.text(decode_raw_unicode(line()))); return true;
    case 'X': unicode(take(number<std::uint32_t>())); return true;
    case 0x8c: unicode(take(byte())); return true;
    case 0x8d: unicode(take(number<std::uint64_t>())); return true;
    case 'B': push(reading_.text(Value::Kind::Bytes, take(number<std::uint32_t>()))); return true;
    case 'C': push(reading_.text(Value::Kind::Bytes, take(byte()))); return true;
    case 0x8e:
    case 0x96: push(reading_.text(Value::Kind::Bytes, take(number<std::uint64_t>()))); return true;
    default: return false;
  }
}

bool Unpickler::step_container(std::uint8_t opcode) {
  const auto tuple_of = [&](std::size_t count) {
    Items items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push(reading_.items(Value::Kind::Tuple, std::move(items)));
    return true;
  };
  switch (opcode) {
    case '(': marks_.push_back(stack_.size()); return true;
    case ')': return tuple_of(0);
    case 0x85: return tuple_of(1);
    case 0x86: return tuple_of(2);
    case 0x87: return tuple_of(3);
    case 't': push(reading_.items(Value::Kind::Tuple, pop_to_mark())); return true;
    case ']': push(reading_.items(Value::Kind::List)); return true;
    case 'l': push(reading_.items(Value::Kind::List, pop_to_mark())); return true;
    case '}': push(reading_.dict()); return true;
    case 0x8f: push(reading_.items(Value::Kind::Set)); return true;
    case 0x91: push(reading_.items(Value::Kind::Set, pop_to_mark())); return true;
    case 'd': {
      const Value dict = reading_.dict();
      set_items(dict, pop_to_mark());
      push(dict);
      return true;
    }
    case 'a': {
      Value item = pop();
      append(top(), {std::move(item)});
      return true;
    }
    case 'e':
    case 0x90: {
      Items items = pop_to_mark();
      append(top(), std::move(items));
      return true;
    }
    case 's': {
      Value value = pop(), key = pop();
      set_items(top(), {std::move(key), std::move(value)});
      return true;
    }
    case 'u': {
      Items pairs = pop_to_mark();
      set_items(top(), std::move(pairs));
      return true;
    }
    default: return false;
  }
}

bool Unpickler::step_object(std::uint8_t opcode) {
  switch (opcode) {
    case 'c': {
      const std::string module = line();
      global(module, line());
      return true;
    }
    case 0x93: {
      const Value name = pop(), module = pop();
      if (!name.is(Value::Kind::String) || !module.is(Value::Kind::String)) damaged("a class's name is no text");
      global(std::string(bytes_of(module).text()), std::string(bytes_of(name).text()));
      return true;
    }
    case 'R': {
      const Value arguments = pop(), callable = pop();
      push(call(callable, arguments));
      return true;
    }
    case 0x81: {
      const Value arguments = pop(), type = pop();
      push(instantiate(type, arguments));
      return true;
    }
    case 0x92: {
      const Value keywords = pop();
      Value arguments = pop();
      const Value type = pop();
      const Entries* named = held<Entries>(keywords);
      if (named == nullptr || !arguments.is(Value::Kind::Tuple)) damaged("a call's arguments are no tuple and dict");
      if (!named->empty()) {  // they follow the others, as a Dict
        reading_.count_values(arguments.items().size());
        Items all = arguments.items();
        all.push_back(keywords);
        arguments = reading_.items(Value::Kind::Tuple, std::move(all));
      }
      push(instantiate(type, arguments));
      return true;
    }
    case 'i': {
      const std::string module = line();
      global(module, line());
      const Value type = pop();
      push(instantiate(type, reading_.items(Value::Kind::Tuple, pop_to_mark())));
      return true;
    }
    case 'o': {
      Items items = pop_to_mark();
      if (items.empty()) damaged("an object without a class");
      const Value type = items.front();
      items.erase(items.begin());
      push(instantiate(type, reading_.items(Value::Kind::Tuple, std::move(items))));
      return true;
    }
    case 'b': build(); return true;
    case 'P':
    case 'Q': {
      if (!load_) unknown("it refers to data outside itself");
      const Value id = opcode == 'P' ? reading_.text(line()) : pop();
      push(load_(id));
      return true;
    }
    case 0x82:
    case 0x83:
    case 0x84: unknown("it names a class by a registered number, whose meaning the file does not tell");
    case 0x97: unknown("it keeps its data in buffers outside the file");
    case 0x98: return true;  // marks a buffer as read-only
    default: return false;
  }
}

bool Unpickler::step_memo(std::uint8_t opcode) {
  const auto index = [&] {
    const std::string text = line();
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) damaged("a memo's number cannot be read");
    return value;
  };
  switch (opcode) {
    case '0':
      if (!marks_.empty() && marks_.back() == stack_.size()) {
        marks_.pop_back();
      } else {
        pop();
      }
      return true;
    case '1': pop_to_mark(); return true;
    case '2': push(top()); return true;
    case 'p': memoize(index()); return true;
    case 'q': memoize(byte()); return true;
    case 'r': memoize(number<std::uint32_t>()); return true;
    case 0x94: memoize(memo_.size()); return true;
    case 'g': recall(index()); return true;
    case 'h': recall(byte()); return true;
    case 'j': recall(number<std::uint32_t>()); return true;
    case 0x80:
      if (const std::uint8_t protocol = byte(); protocol > kHighestProtocol) {
        unknown("it is of pickle protocol " + std::to_string(protocol) + ", which is newer than this program");
      }
      return true;
    case 0x95:
      if (number<std::uint64_t>() > bytes_.size - position_) damaged("a frame is longer than the rest of it");
      return true;
    default: return false;
  }
}

std::uint8_t Unpickler::byte() { return *take(1).data; }

template <typename T>
T Unpickler::number() {
  return load_number<T>(take(sizeof(T)).data);
}

Slice Unpickler::take(std::uint64_t bytes) {
  if (bytes > bytes_.size - position_) damaged("it ends too early");
  const Slice taken{bytes_.data + position_, static_cast<std::size_t>(bytes), bytes_.owner, bytes_.mapped};
  position_ += taken.size;
  return taken;
}

std::string Unpickler::line() {
  const void* end =
      position_ < bytes_.size ? std::memchr(bytes_.data + position_, '\n', bytes_.size - position_) : nullptr;
  if (end == nullptr) damaged("it ends inside a line");
  const auto length = static_cast<std::size_t>(static_cast<const std::uint8_t*>(end) - bytes_.data) - position_;
  if (length > reading_.limits().text_bytes) damaged("a line is too long");
  std::string text(take(length).text());
  ++position_;
  return text;
}

void Unpickler::push(Value value) {
  if (stack_.size() >= reading_.limits().values) unknown("its stack grows without end");
  stack_.push_back(std::move(value));
}

Value& Unpickler::top() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) damaged("its stack is empty");
  return stack_.back();
}

Value Unpickler::pop() {
  Value value = std::move(top());
  stack_.pop_back();
  return value;
}

Items Unpickler::pop_to_mark() {
  if (marks_.empty()) damaged("a mark is missing");
  const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  marks_.pop_back();
  Items items(std::make_move_iterator(from), std::make_move_iterator(stack_.end()));
  stack_.erase(from, stack_.end());
  return items;
}

void Unpickler::integer_text(const std::string& text, bool may_be_bool) {
  if (may_be_bool && (text == "00" || text == "01")) return push(reading_.boolean(text == "01"));
  std::string_view digits = text;
  if (!digits.empty() && digits.back() == 'L') digits.remove_suffix(1);
  if (digits.size() > kLongestDigits) damaged("an integer has too many digits");
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::invalid_argument || end != digits.data() + digits.size())
    damaged("an integer cannot be read");
  if (error == std::errc::result_out_of_range) return push(reading_.number(parse_float(digits)));
  push(reading_.integer(value));
}

void Unpickler::long_integer(std::uint64_t bytes) {
  const Slice digits = take(bytes);
  reading_.count_text(bytes);
  if (bytes > 8) return push(reading_.number(long_as_double(digits.data, digits.size)));
  std::uint64_t value = bytes > 0 && (digits.data[bytes - 1] & 0x80) != 0 ? ~std::uint64_t{0} : 0;
  for (std::size_t i = digits.size; i-- > 0;) value = value << 8 | digits.data[i];
  push(reading_.integer(static_cast<std::int64_t>(value)));
}

void Unpickler::global(const std::string& module, const std::string& name) {
  std::string full = (module == "__builtin__" ? "builtins" : module == "copy_reg" ? "copyreg" : module) + "." + name;
  if (full.size() > kLongestName || !is_utf8(full) ||
      std::any_of(full.begin(), full.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; })) {
    damaged("a class's name is impossible");
  }
  if (is_attack(full)) unknown("it asks to run " + full);
  push(reading_.global(full));
}

Value Unpickler::call(const Value& callable, const Value& arguments) {
  if (!arguments.is(Value::Kind::Tuple)) damaged("a call's arguments are no tuple");
  if (held<Global>(callable) != nullptr) {
    const CallSite site{reading_, where_, nesting_};
    if (const auto made = call_global(site, callable, arguments)) return *made;
    return reading_.object(callable, arguments);
  }
  // The result of a call is called: functools.partial(f)(x). As inert as the first.
  if (object_of(callable) == nullptr) damaged(std::string("it calls ") + kind_name(callable.kind()));
  const std::string& name = callable.class_name();
  return reading_.object(reading_.global(name.ends_with("()") ? name : name + "()"), arguments);
}

Value Unpickler::instantiate(const Value& type, const Value& arguments) {
  if (held<Global>(type) == nullptr) damaged(std::string("it makes an object of ") + kind_name(type.kind()));
  return call(type, arguments);
}

void Unpickler::build() {
  const Value state = pop();
  const Value target = top();
  // The state of an OrderedDict is torch's `_metadata`; that of a parameter, attributes hung onto it.
  if (target.is(Value::Kind::Dict) || target.is(Value::Kind::Tensor) || target.is(Value::Kind::Set)) return;
  ObjectParts* object = object_of(target);
  if (object == nullptr) damaged(std::string("it sets the state of ") + kind_name(target.kind()));
  if (!build_array(reading_, target, state)) object->state = state;
}

void Unpickler::append(const Value& list, Items items) {
  Items* held_items = held<Items>(list);
  if (held_items == nullptr || list.is(Value::Kind::Tuple)) {
    ObjectParts* object = object_of(list);
    if (object == nullptr) damaged(std::string("it appends to ") + kind_name(list.kind()));
    held_items = &object->items;
  }
  held_items->insert(held_items->end(), std::make_move_iterator(items.begin()), std::make_move_iterator(items.end()));
}

void Unpickler::set_items(const Value& dict, Items pairs) {
  if (pairs.size() % 2 != 0) damaged("a key lacks its value");
  Entries* entries = held<Entries>(dict);
  if (entries == nullptr) {
    ObjectParts* object = object_of(dict);
    if (object == nullptr) damaged(std::string("it sets an item of ") + kind_name(dict.kind()));
    entries = &object->entries;
  }
  for (std::size_t i = 0; i < pairs.size(); i += 2) entries->emplace_back(std::move(pairs[i]), std::move(pairs[i + 1]));
}

void Unpickler::memoize(std::uint64_t key) {
  memo_[key] = top();
  if (memo_.size() > reading_.limits().values) unknown("its memo grows without end");
}

void Unpickler::recall(std::uint64_t key) {
  const auto found = memo_.find(key);
  if (found == memo_.end()) damaged("it refers to number " + std::to_string(key) + " of its memo, which is not there");
  push(found->second);
}

}  // namespace styleclip::checkpoint
