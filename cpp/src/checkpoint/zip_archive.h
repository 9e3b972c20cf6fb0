// The entries of a zip file as slices of the mapping.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/reading.h"
#include "checkpoint/slice.h"
#include "models/zip_file.h"

namespace styleclip::checkpoint {

/// Bytes of the file that have a checksum.
struct Region {
  std::uint64_t begin = 0, end = 0;
  std::uint32_t crc = 0;
  std::string name;
};

class ZipArchive {
 public:
  /// Refuses names that are no plain relative paths, names that come twice, entries that share bytes or whose two
  /// headers disagree, and entries that say they unpack to more than Limits allow.
  ZipArchive(Reading& reading, const Slice& file);

  const ZipEntry* find(const std::string& name) const;
  const std::map<std::string, ZipEntry>& entries() const noexcept { return entries_; }
  /// As stored: still deflated where `deflated` says so.
  Slice packed(const ZipEntry& entry) const { return file_.part(entry.header, entry.packed); }
  /// Unpacked. Meant for small entries: a deflated one is unpacked into memory, its checksum compared.
  Slice bytes(const ZipEntry& entry) const;
  /// The first `bytes` bytes of a deflated entry.
  Slice beginning(const ZipEntry& entry, std::uint64_t bytes) const;
  /// An entry's numbers behind its first `skip` bytes. A deflated one is unpacked at once, to compare its checksum, but
  /// kept only when its numbers are asked for.
  std::shared_ptr<NumberStore> store(Reading& reading, const ZipEntry& entry, std::uint64_t skip, unsigned alignment,
                                     unsigned swap) const;
  /// What a pass over the file has to check: the entries that are stored plainly.
  std::vector<Region> regions() const;

 private:
  Slice file_;
  std::uint64_t most_unpacked_;
  std::map<std::string, ZipEntry> entries_;  // `header` is where the data begin
};

}  // namespace styleclip::checkpoint
