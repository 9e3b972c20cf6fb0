// Values of a file, and the bounds on them.
#include "checkpoint/reading.h"

#include <algorithm>
#include <utility>

#include "checkpoint/mapping.h"

namespace styleclip::checkpoint {
namespace {

constexpr std::size_t kLongText = 4096;  // longer texts stay in the file
// Weights hardly compress, and zeros may: deflate reaches 1032 to 1, which is for bombs. Small files are let alone.
constexpr std::uint64_t kMostRatio = 100, kAlwaysUnpacked = 64U << 20U;
constexpr std::uint64_t kObjectWeight = 3;  // an object's memory, in values

/// Whether a value can refer to others.
bool is_branch(const Value& value) {
  return held<Items>(value) != nullptr || held<Entries>(value) != nullptr || object_of(value) != nullptr;
}

const Value* child_of(const Entries& entries, std::size_t index) {
  if (index >= 2 * entries.size()) return nullptr;
  return index % 2 == 0 ? &entries[index / 2].first : &entries[index / 2].second;
}

/// The index-th of the values that a value refers to, nullptr past the last.
const Value* child_of(const Value& value, std::size_t index) {
  if (const Items* items = held<Items>(value)) return index < items->size() ? &(*items)[index] : nullptr;
  if (const Entries* entries = held<Entries>(value)) return child_of(*entries, index);
  const ObjectParts* object = object_of(value);
  if (object == nullptr) return nullptr;
  if (index < 2) return index == 0 ? &object->arguments : &object->state;
  if (index - 2 < object->items.size()) return &object->items[index - 2];
  return child_of(object->entries, index - 2 - object->items.size());
}

/// Text keys by their bytes, numbers by their value; "" for other keys, which are left as they are.
std::string key_of(const Value& key) {
  const bool text = key.is(Value::Kind::String), number = key.is(Value::Kind::Int) || key.is(Value::Kind::Bool);
  if (!text && !number && !key.is(Value::Kind::Bytes)) return "";
  std::string name(1, text ? 's' : number ? 'i' : 'b');
  if (number) return name += std::to_string(key.integer());
  return name += bytes_of(key).text();
}

void drop_repeated_keys(Entries& entries) {
  std::unordered_map<std::string, std::size_t> places;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::string key = key_of(entries[i].first);
    const auto [place, added] = key.empty() ? std::pair(places.end(), true) : places.try_emplace(key, kept);
    if (!added) {
      entries[place->second].second = entries[i].second;
      continue;
    }
    if (kept != i) entries[kept] = std::move(entries[i]);
    ++kept;
  }
  entries.resize(kept);
}

}  // namespace

Arena::~Arena() {
  for (const auto& node : nodes_) node->clear();
}

Value Arena::add(Value::Kind kind) {
  nodes_.push_back(std::make_shared<Value::Node>());
  nodes_.back()->kind = kind;
  return Value(nodes_.back());
}

Reading::Reading(std::string path, std::uint64_t file_bytes, const RunContext& run, const Limits& limits)
    : path_(std::move(path)), file_bytes_(file_bytes), run_(run), limits_(limits) {}

Value Reading::add(Value::Kind kind, std::uint64_t weight) {
  count_values(weight);
  return arena_->add(kind);
}

Value Reading::boolean(bool value) {
  Value made = add(Value::Kind::Bool);
  made.node()->data = value;
  return made;
}

Value Reading::integer(std::int64_t value) {
  Value made = add(Value::Kind::Int);
  made.node()->data = value;
  return made;
}

Value Reading::number(double value) {
  Value made = add(Value::Kind::Float);
  made.node()->data = value;
  return made;
}

Value Reading::text(Value::Kind kind, const Slice& bytes) {
  if (bytes.size <= kLongText) return owned_text(kind, std::string(bytes.text()));
  release_pages(bytes);  // they were stepped over, not read
  Value made = add(kind);
  made.node()->data = Text{nullptr, std::make_unique<Slice>(bytes)};
  return made;
}

Value Reading::owned_text(Value::Kind kind, std::string text) {
  count_text(text.size());
  Value made = add(kind);
  made.node()->data = Text{std::make_shared<const std::string>(std::move(text)), nullptr};
  return made;
}

Value Reading::items(Value::Kind kind, Items items) {
  Value made = add(kind);
  made.node()->data = std::move(items);
  return made;
}

Value Reading::dict(Entries entries) {
  Value made = add(Value::Kind::Dict);
  made.node()->data = std::move(entries);
  return made;
}

Value Reading::global(const std::string& name) {
  if (const auto known = globals_.find(name); known != globals_.end()) return known->second;
  count_text(name.size());
  Value made = add(Value::Kind::Object, kObjectWeight);
  made.node()->data = Global{name};
  globals_.emplace(name, made);
  return made;
}

Value Reading::object(Value type, Value arguments) {
  Value made = add(Value::Kind::Object, kObjectWeight);
  auto parts = std::make_unique<ObjectParts>();
  parts->type = std::move(type);
  parts->arguments = std::move(arguments);
  made.node()->data = std::move(parts);
  return made;
}

Value Reading::tensor(std::shared_ptr<NumberStore> store, at::ScalarType type, std::int64_t offset,
                      std::vector<std::int64_t> sizes, std::vector<std::int64_t> strides) {
  auto lazy = std::make_unique<LazyTensor>(std::move(store), type, offset, std::move(sizes), std::move(strides));
  Value made = add(Value::Kind::Tensor, kObjectWeight);
  made.node()->data = std::move(lazy);
  return made;
}

Value Reading::storage(StoragePart part) {
  Value made = add(Value::Kind::Object, kObjectWeight);
  made.node()->data = std::make_unique<StoragePart>(std::move(part));
  return made;
}

std::shared_ptr<NumberStore> Reading::store(const Slice& bytes, unsigned alignment, unsigned swap,
                                            const MakeStore& make) {
  auto& known = stores_[{bytes.data, bytes.size, alignment, swap}];
  if (!known) known = make ? make() : std::make_shared<NumberStore>(bytes, alignment, swap);
  return known;
}

void Reading::operation() {
  if (++operations_ > limits_.operations) {
    unknown("it takes more than " + std::to_string(limits_.operations) + " operations, which no checkpoint does");
  }
  if (operations_ % 65536 == 0) run_.check();
}

void Reading::count_values(std::uint64_t values) {
  values_ += values;
  if (values_ > limits_.values) {
    unknown("it holds more than " + std::to_string(limits_.values) + " values, which no checkpoint does");
  }
}

void Reading::count_text(std::uint64_t bytes) {
  text_bytes_ += bytes;
  if (bytes > limits_.text_bytes || text_bytes_ > limits_.text_bytes) {
    unknown("it holds more than " + std::to_string(limits_.text_bytes) + " bytes of text");
  }
}

void Reading::count_unpacked(std::uint64_t bytes) {
  const std::uint64_t most = std::min(limits_.unpacked_bytes, std::max(kAlwaysUnpacked, kMostRatio * file_bytes_));
  unpacked_bytes_ += std::min(bytes, most + 1);  // no wrapping round
  if (unpacked_bytes_ > most) {
    unknown("its entries unpack to more than " + std::to_string(most) + " bytes (a zip bomb?)");
  }
}

void Reading::fail(const Flaw& flaw, const std::string& where) const {
  const bool damage = flaw.code == ErrorCode::FileDamaged;
  throw Error(
      flaw.code,
      path_ + (damage ? " is damaged: " : " is refused: ") + (where.empty() ? "" : where + ": ") + flaw.what + ".",
      damage ? "Get the file again, or save it again."
             : "Nothing of it was run. Get the weights in another form (safetensors, or torch.save of a "
               "state_dict).");
}

void Reading::finish(const Value& root) {
  struct Measure {
    std::uint64_t depth = 1, walked = 1;  // longest way down; values that a walk without memory would meet
    bool done = false;
  };
  struct Frame {
    const Value* value;
    Measure* measure;
    std::size_t next;  // child
  };
  const std::uint64_t most_walked = 4 * limits_.values;
  std::unordered_map<const Value::Node*, Measure> measures;
  std::vector<Frame> path;
  const auto enter = [&](const Value& value) {
    if (path.size() >= limits_.depth) unknown("it nests deeper than " + std::to_string(limits_.depth) + " levels");
    if (Entries* entries = held<Entries>(value)) drop_repeated_keys(*entries);
    if (ObjectParts* object = object_of(value)) drop_repeated_keys(object->entries);
    path.push_back({&value, &measures[value.node().get()], 0});
  };
  const auto add = [&](Measure& total, std::uint64_t depth, std::uint64_t walked) {
    total.depth = std::max(total.depth, depth + 1);
    total.walked += walked;
    if (total.depth > limits_.depth) unknown("it nests deeper than " + std::to_string(limits_.depth) + " levels");
    if (total.walked > most_walked) unknown("it refers to its own parts so often that it cannot be walked");
  };
  if (is_branch(root)) enter(root);
  while (!path.empty()) {
    Frame& frame = path.back();
    const Value* child = child_of(*frame.value, frame.next++);
    if (child == nullptr) {
      const Measure below = *frame.measure;
      frame.measure->done = true;
      path.pop_back();
      if (!path.empty()) add(*path.back().measure, below.depth, below.walked);
    } else if (!is_branch(*child)) {
      ++frame.measure->walked;
    } else if (const auto known = measures.find(child->node().get()); known == measures.end()) {
      enter(*child);
    } else if (known->second.done) {
      add(*frame.measure, known->second.depth, known->second.walked);
    }  // else a cycle: the child is being measured further up
  }
}

}  // namespace styleclip::checkpoint
