// torch.save before PyTorch 1.6 (_legacy_save in torch/serialization.py): pickles of a magic number, a protocol number,
// facts about the machine, the object and the storages' keys, and then each storage as [int64 elements][bytes].
#include <cmath>
#include <map>

#include "checkpoint/containers.h"
#include "checkpoint/mapping.h"
#include "checkpoint/pickle_globals.h"
#include "checkpoint/pickle_text.h"
#include "checkpoint/unpickler.h"

namespace styleclip::checkpoint {
namespace {

constexpr std::uint8_t kMagic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9,
                                   0x20, 0x6a, 0xa8, 0x50, 0x19};  // 0x1950a86a20f9469cfc6c
constexpr std::int64_t kProtocol = 1001;
constexpr std::size_t kHeadBytes = 64;  // of which the magic number takes 15 to 30

bool is_magic(const Value& value) {
  const double magic = long_as_double(kMagic, sizeof kMagic);
  return value.is(Value::Kind::Float) && std::abs(value.number() / magic - 1) < 1e-15;
}

struct Stored {
  std::shared_ptr<NumberStore> store;
  std::int64_t count = 0;
  std::uint64_t element = 1;
  std::optional<at::ScalarType> scalar;
};

class Storages {
 public:
  explicit Storages(Reading& reading) : reading_(reading) {}

  /// ('storage', class, key, device, elements, view), a view being (key, offset, elements) or None; or ('module', class,
  /// source file, source text), which stands for the class.
  Value load(const Value& id) {
    const Items* parts = held<Items>(id);
    if (parts == nullptr || parts->size() < 2 || held<Text>((*parts)[0]) == nullptr ||
        held<Global>((*parts)[1]) == nullptr) {
      damaged("a storage is named in an unknown way");
    }
    const std::string_view kind = bytes_of((*parts)[0]).text();
    if (kind == "module") return (*parts)[1];
    if (kind != "storage" || parts->size() < 5 || held<Text>((*parts)[2]) == nullptr ||
        !(*parts)[4].is(Value::Kind::Int)) {
      damaged("a storage is named in an unknown way");
    }
    const auto scalar = storage_type((*parts)[1].class_name());
    const std::int64_t count = (*parts)[4].integer();
    const std::uint64_t element = scalar ? c10::elementSize(*scalar) : 1;
    if (count < 0 || static_cast<std::uint64_t>(count) > (std::uint64_t{1} << 60) / element) {
      damaged("a storage's size is impossible");
    }
    const std::string key(bytes_of((*parts)[2]).text());
    const auto [found, added] = stored_.try_emplace(key);
    if (added) {
      reading_.count_text(key.size());
      const unsigned alignment = scalar ? static_cast<unsigned>(element) : 8;
      found->second = {std::make_shared<NumberStore>(static_cast<std::uint64_t>(count) * element, alignment), count,
                       element, scalar};
    } else if (found->second.count != count || found->second.element != element) {
      damaged("the storage '" + key + "' is named with two sizes");
    }
    StoragePart part{.type = (*parts)[1], .store = found->second.store, .scalar = scalar};
    if (parts->size() > 5 && !(*parts)[5].is(Value::Kind::None)) {
      const std::vector<std::int64_t> view = view_of((*parts)[5]);
      if (view[0] < 0 || view[1] < 0 || view[0] > count || view[1] > count - view[0]) {
        damaged("a view reaches outside the storage '" + key + "'");
      }
      part.offset = view[0];
    }
    return reading_.storage(std::move(part));
  }

  /// The bytes of every storage, in the order of `keys`; the position behind them.
  void fill(const Value& keys, const Slice& bytes, std::uint64_t at) {
    const Items* items = held<Items>(keys);
    if (items == nullptr) damaged("the list of its storages is missing");
    for (const Value& one : *items) {
      reading_.run().check();
      const std::string key(bytes_of(one).text());
      const auto found = stored_.find(key);
      if (found == stored_.end()) damaged("the storage '" + key + "' belongs to nothing");
      const Stored& stored = found->second;
      const auto count = static_cast<std::int64_t>(load_number<std::uint64_t>(bytes.part(at, 8).data));
      if (count != stored.count)
        damaged("the storage '" + key + "' has " + std::to_string(count) + " elements, not " +
                std::to_string(stored.count));
      stored.store->set(bytes.part(at + 8, stored.store->size()));
      at += 8 + stored.store->size();
      release_pages(bytes);
    }
    for (const auto& [key, stored] : stored_) {
      if (stored.store->pending()) damaged("the storage '" + key + "' is missing");
    }
  }

 private:
  static std::vector<std::int64_t> view_of(const Value& view) {
    const Items* parts = held<Items>(view);
    if (parts == nullptr || parts->size() != 3 || !(*parts)[1].is(Value::Kind::Int) ||
        !(*parts)[2].is(Value::Kind::Int)) {
      damaged("a view of a storage is named in an unknown way");
    }
    return {(*parts)[1].integer(), (*parts)[2].integer()};
  }

  Reading& reading_;
  std::map<std::string, Stored> stored_;
};

}  // namespace

bool is_torch_legacy(const Slice& bytes) {
  const RunContext run;
  const Limits few{.operations = 8, .values = 8, .text_bytes = kHeadBytes};
  Reading trial("", bytes.size, run, few);
  try {
    return is_magic(Unpickler(trial, bytes.part(0, std::min(bytes.size, kHeadBytes)), "").next());
  } catch (const Error&) {  // a stream that begins otherwise
    return false;
  }
}

Value read_torch_legacy(Reading& reading, const Slice& bytes, const std::string& where, unsigned nesting) {
  Storages storages(reading);
  Unpickler unpickler(reading, bytes, where, [&](const Value& id) { return storages.load(id); }, nesting);
  try {
    if (!is_magic(unpickler.next())) damaged("it does not begin as torch.save's stream");
    const Value protocol = unpickler.next();
    if (!protocol.is(Value::Kind::Int) || protocol.integer() != kProtocol)
      unknown("torch.save's stream is of an unknown version");
    const Value machine = unpickler.next();
    const Value* little = machine.find("little_endian");
    if (little != nullptr && little->is(Value::Kind::Bool) && !little->boolean()) {
      unknown("it was written by a big-endian machine");
    }
    const Value root = unpickler.next();
    const Value keys = unpickler.next();
    storages.fill(keys, bytes, unpickler.position());
    return root;
  } catch (const Flaw& flaw) {
    reading.fail(flaw, where);
  }
}

}  // namespace styleclip::checkpoint
