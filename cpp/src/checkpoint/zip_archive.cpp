// Zip files without their tricks.
#include "checkpoint/zip_archive.h"

#include <algorithm>

#include "checkpoint/inflate.h"
#include "checkpoint/mapping.h"

namespace styleclip::checkpoint {
namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::size_t kLocalBytes = 30;

/// Names are only looked up, never opened; one that points elsewhere still marks a file as made to deceive.
void check_name(const std::string& name) {
  const bool control =
      std::any_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; });
  if (name.empty() || control) unknown("an entry's name is empty or has control characters");
  bool climbs = name.front() == '/' || name.find('\\') != std::string::npos || (name.size() > 1 && name[1] == ':');
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('/', at), name.size());
    climbs = climbs || name.substr(at, end - at) == "..";
    at = end + 1;
  }
  if (climbs) unknown("the entry '" + name + "' points outside the file");
}

/// Where an entry's bytes begin.
std::uint64_t data_of(const Slice& file, const ZipEntry& entry) {
  const Slice header = file.part(entry.header, kLocalBytes);
  if (load_number<std::uint32_t>(header.data) != kLocalHeader) damaged("the header of '" + entry.name + "'");
  const std::uint64_t name = load_number<std::uint16_t>(header.data + 26);
  const std::uint64_t extra = load_number<std::uint16_t>(header.data + 28);
  if (file.part(entry.header + kLocalBytes, name).text() != entry.name) {
    damaged("the two headers of '" + entry.name + "' disagree about its name");
  }
  return entry.header + kLocalBytes + name + extra;
}

}  // namespace

ZipArchive::ZipArchive(Reading& reading, const Slice& file) : file_(file), most_unpacked_(reading.limits().text_bytes) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
  for (ZipEntry& entry : read_zip_directory(file.text(), reading.path())) {
    reading.run().check();
    check_name(entry.name);
    const std::uint64_t begin = entry.header;
    entry.header = data_of(file, entry);
    release_pages(file);
    file.part(entry.header, entry.packed);
    if (!entry.deflated && entry.packed != entry.bytes) damaged("the sizes of '" + entry.name + "' disagree");
    if (entry.deflated) reading.count_unpacked(entry.bytes);
    places.emplace_back(begin, entry.header + entry.packed);
    const std::string name = entry.name;
    reading.count_text(name.size());
    if (!entries_.emplace(name, std::move(entry)).second) unknown("the entry '" + name + "' is there twice");
  }
  std::sort(places.begin(), places.end());
  for (std::size_t i = 1; i < places.size(); ++i) {
    if (places[i].first < places[i - 1].second) damaged("its entries overlap (a zip bomb?)");
  }
}

const ZipEntry* ZipArchive::find(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

Slice ZipArchive::bytes(const ZipEntry& entry) const {
  if (!entry.deflated) return packed(entry);
  if (entry.bytes > most_unpacked_) unknown("'" + entry.name + "' is too large to be unpacked");
  std::string unpacked;
  unpacked.reserve(entry.bytes);
  std::uint32_t crc = 0;
  inflate(packed(entry), entry.bytes, [&](const std::uint8_t* data, std::size_t size) {
    unpacked.append(reinterpret_cast<const char*>(data), size);
    crc = crc32(crc, data, size);
  });
  if (crc != entry.crc) damaged("the checksum of '" + entry.name + "' is wrong");
  return own(std::move(unpacked));
}

Slice ZipArchive::beginning(const ZipEntry& entry, std::uint64_t bytes) const {
  std::string unpacked;
  inflate_beginning(packed(entry), bytes, [&](const std::uint8_t* data, std::size_t size) {
    unpacked.append(reinterpret_cast<const char*>(data), size);
  });
  return own(std::move(unpacked));
}

std::shared_ptr<NumberStore> ZipArchive::store(Reading& reading, const ZipEntry& entry, std::uint64_t skip,
                                               unsigned alignment, unsigned swap) const {
  const Slice stored = packed(entry);
  if (!entry.deflated) return reading.store(stored.from(skip), alignment, swap);
  return reading.store(stored, alignment, swap, [&] {
    std::uint32_t crc = 0;
    inflate(stored, entry.bytes, [&](const std::uint8_t* data, std::size_t size) {
      crc = crc32(crc, data, size);
      reading.run().check();
    });
    if (crc != entry.crc) damaged("the checksum of '" + entry.name + "' is wrong");
    const std::uint64_t bytes = entry.bytes;
    const auto fill = [stored, bytes, skip](std::uint8_t* to) {
      std::uint64_t left = skip;
      inflate(stored, bytes, [&](const std::uint8_t* data, std::size_t size) {
        const std::size_t head = std::min<std::uint64_t>(left, size);
        left -= head;
        std::copy(data + head, data + size, to);
        to += size - head;
      });
    };
    return std::make_shared<NumberStore>(bytes - skip, fill, swap);
  });
}

std::vector<Region> ZipArchive::regions() const {
  std::vector<Region> regions;
  // torch.serialization.set_crc32_options(False) writes zeros for all checksums: there is nothing to compare.
  const bool none = std::all_of(entries_.begin(), entries_.end(), [](const auto& one) { return one.second.crc == 0; });
  if (none) return regions;
  for (const auto& [name, entry] : entries_) {
    if (!entry.deflated) regions.push_back({entry.header, entry.header + entry.packed, entry.crc, name});
  }
  std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.begin < b.begin; });
  return regions;
}

}  // namespace styleclip::checkpoint
