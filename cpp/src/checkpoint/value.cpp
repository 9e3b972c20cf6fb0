// Accessors of the tree.
#include "checkpoint/value.h"

#include <ATen/ops/empty.h>

#include <mutex>

#include "checkpoint/node.h"

namespace styleclip::checkpoint {
namespace {

[[noreturn]] void wrong_kind(const Value& value, const char* wanted) {
  throw Error(ErrorCode::FormatUnknown,
              std::string("A checkpoint has ") + kind_name(value.kind()) + " where " + wanted + " is expected.",
              "Check that the file is a checkpoint of the kind asked for.");
}

template <typename T>
const T& get(const Value& value, const char* wanted) {
  const T* data = held<T>(value);
  if (data == nullptr) wrong_kind(value, wanted);
  return *data;
}

const std::string kNoText;
const Value kNone;
const Items kNoItems;
const Entries kNoEntries;

std::string_view view_of(const Text& text) { return text.mapped ? text.mapped->text() : std::string_view(*text.copy); }

const Value* find_in(const Entries& entries, std::string_view key) {
  for (const auto& [name, value] : entries) {
    if (!name.is(Value::Kind::String)) continue;
    const Text* text = held<Text>(name);
    if (text != nullptr && view_of(*text) == key) return &value;
  }
  return nullptr;
}

}  // namespace

const char* kind_name(Value::Kind kind) noexcept {
  switch (kind) {
    case Value::Kind::None: return "None";
    case Value::Kind::Bool: return "a Bool";
    case Value::Kind::Int: return "an Int";
    case Value::Kind::Float: return "a Float";
    case Value::Kind::String: return "a String";
    case Value::Kind::Bytes: return "Bytes";
    case Value::Kind::List: return "a List";
    case Value::Kind::Tuple: return "a Tuple";
    case Value::Kind::Set: return "a Set";
    case Value::Kind::Dict: return "a Dict";
    case Value::Kind::Tensor: return "a Tensor";
    case Value::Kind::Object: return "an Object";
  }
  return "a value";
}

Value::Kind Value::kind() const noexcept { return node_ ? node_->kind : Kind::None; }

bool Value::boolean() const { return get<bool>(*this, "a Bool"); }

std::int64_t Value::integer() const {
  if (const bool* flag = held<bool>(*this)) return *flag ? 1 : 0;
  return get<std::int64_t>(*this, "an Int");
}

double Value::number() const {
  if (const double* number = held<double>(*this)) return *number;
  if (kind() != Kind::Int && kind() != Kind::Bool) wrong_kind(*this, "a number");
  return static_cast<double>(integer());
}

const std::string& Value::text() const {
  get<Text>(*this, "a String");
  Text& text = *held<Text>(*this);
  if (text.mapped) {
    static std::mutex copying;  // long texts are rare and copied once
    const std::lock_guard lock(copying);
    if (!text.copy) text.copy = std::make_shared<const std::string>(text.mapped->text());
  }
  return *text.copy;
}

const std::vector<Value>& Value::items() const {
  const ObjectParts* object = object_of(*this);
  if (is(Kind::Object)) return object != nullptr ? object->items : kNoItems;
  return get<Items>(*this, "a List or Tuple");
}

const std::vector<std::pair<Value, Value>>& Value::entries() const {
  const ObjectParts* object = object_of(*this);
  if (is(Kind::Object)) return object != nullptr ? object->entries : kNoEntries;
  return get<Entries>(*this, "a Dict");
}

const at::Tensor& Value::tensor() const {
  const auto& lazy = get<std::unique_ptr<LazyTensor>>(*this, "a Tensor");
  try {
    return lazy->tensor();
  } catch (const Flaw& flaw) {  // it was sound when the file was read
    throw Error(flaw.code, "A checkpoint changed while it was in use: " + flaw.what + ".", "Read it again.");
  } catch (...) {
    rethrow_translated("take a tensor out of a checkpoint");
  }
}

at::Tensor Value::outline() const {
  const auto& lazy = get<std::unique_ptr<LazyTensor>>(*this, "a Tensor");
  return at::empty(lazy->sizes(), at::TensorOptions(lazy->type()).device(at::kMeta));
}

void Value::forget_tensor() const { get<std::unique_ptr<LazyTensor>>(*this, "a Tensor")->forget(); }

const std::string& Value::class_name() const {
  if (const Global* global = held<Global>(*this)) return global->name;
  const StoragePart* storage = storage_of(*this);
  const ObjectParts* object = object_of(*this);
  if (storage == nullptr && object == nullptr) wrong_kind(*this, "an Object");
  const Global* type = held<Global>(storage != nullptr ? storage->type : object->type);
  return type != nullptr ? type->name : kNoText;
}

const Value& Value::arguments() const {
  if (!is(Kind::Object)) wrong_kind(*this, "an Object");
  const ObjectParts* object = object_of(*this);
  return object != nullptr ? object->arguments : kNone;
}

const Value& Value::state() const {
  if (!is(Kind::Object)) wrong_kind(*this, "an Object");
  const ObjectParts* object = object_of(*this);
  return object != nullptr ? object->state : kNone;
}

const Value* Value::find(std::string_view key) const {
  if (const Entries* entries = held<Entries>(*this)) return find_in(*entries, key);
  const ObjectParts* object = object_of(*this);
  if (object == nullptr) return nullptr;
  if (const Value* found = find_in(object->entries, key)) return found;
  const Entries* state = held<Entries>(object->state);
  return state != nullptr ? find_in(*state, key) : nullptr;
}

Slice bytes_of(const Value& value) {
  const Text* text = held<Text>(value);
  if (text == nullptr) damaged(std::string("it has ") + kind_name(value.kind()) + " where text or bytes belong");
  if (text->mapped) return *text->mapped;
  return {reinterpret_cast<const std::uint8_t*>(text->copy->data()), text->copy->size(), text->copy};
}

}  // namespace styleclip::checkpoint
