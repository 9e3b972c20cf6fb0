// torch.save since PyTorch 1.6 (torch/serialization.py, caffe2/serialize/inline_container.cc): FOLDER/data.pkl holds the
// object, FOLDER/data/N the bytes of storage N, FOLDER/byteorder how they are written.
#include <utility>

#include "checkpoint/containers.h"
#include "checkpoint/pickle_globals.h"
#include "checkpoint/unpickler.h"

namespace styleclip::checkpoint {
namespace {

/// The storages of one archive, each made once.
class Storages {
 public:
  Storages(Reading& reading, const ZipArchive& zip, std::string folder)
      : reading_(reading), zip_(zip), folder_(std::move(folder)) {
    const ZipEntry* order = zip.find(folder_ + "/byteorder");
    if (order == nullptr) return;
    const std::string text(zip.bytes(*order).text());
    big_endian_ = text == "big";
    if (!big_endian_ && text != "little") damaged("its byte order is neither 'little' nor 'big'");
  }

  /// ('storage', class, key, device, elements); the device is where it was, and does not matter.
  Value load(const Value& id) {
    const Items* parts = held<Items>(id);
    if (parts == nullptr || parts->size() < 5 || !(*parts)[0].is(Value::Kind::String) ||
        bytes_of((*parts)[0]).text() != "storage" || held<Global>((*parts)[1]) == nullptr ||
        !(*parts)[2].is(Value::Kind::String) || !(*parts)[4].is(Value::Kind::Int)) {
      damaged("a storage is named in an unknown way");
    }
    const auto scalar = storage_type((*parts)[1].class_name());
    const std::int64_t count = (*parts)[4].integer();
    const auto element = static_cast<std::int64_t>(scalar ? c10::elementSize(*scalar) : 1);
    const std::string name = folder_ + "/data/" + (*parts)[2].text();
    const ZipEntry* entry = zip_.find(name);
    if (entry == nullptr) damaged("the storage '" + name + "' is missing");
    if (count < 0 || static_cast<std::uint64_t>(count) > entry->bytes / static_cast<std::uint64_t>(element)) {
      damaged("the storage '" + name + "' has " + std::to_string(entry->bytes) + " bytes, too few for " +
              std::to_string(count) + " elements");
    }
    const unsigned swap = big_endian_ && scalar ? swap_width(*scalar) : 1;
    const unsigned alignment = scalar ? static_cast<unsigned>(element) : 8;
    return reading_.storage({.type = (*parts)[1],
                             .store = zip_.store(reading_, *entry, 0, alignment, swap),
                             .scalar = scalar,
                             .big_endian = big_endian_});
  }

 private:
  Reading& reading_;
  const ZipArchive& zip_;
  std::string folder_;
  bool big_endian_ = false;
};

}  // namespace

Value read_torch_zip(Reading& reading, const ZipArchive& zip, const std::string& folder) {
  const std::string name = folder + "/data.pkl";
  Storages storages(reading, zip, folder);
  Unpickler unpickler(reading, zip.bytes(*zip.find(name)), name, [&](const Value& id) { return storages.load(id); });
  return unpickler.next();
}

}  // namespace styleclip::checkpoint
