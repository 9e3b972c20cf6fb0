// A TorchScript archive is a zip file. libtorch reads one without looking at its checksums, so a flipped bit in a
// weight would pass unseen; this reads the zip's table of contents and checks every entry's CRC-32.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace styleclip {

struct ZipEntry {
  std::string name;          // "archive/data/0"
  std::uint64_t header = 0;  // offset of its local header
  std::uint64_t packed = 0;  // bytes in the file
  std::uint64_t bytes = 0;   // bytes when unpacked
  std::uint32_t crc = 0;     // of the unpacked bytes
  bool deflated = false;
};

/// The central directory (zip64 included). Throws FileNotFound, FormatUnknown when the file is no zip, and FileDamaged.
std::vector<ZipEntry> read_zip_directory(const std::string& path);
/// The same of a file that is in memory (or mapped) already.
std::vector<ZipEntry> read_zip_directory(std::string_view file, const std::string& path);

/// Reads every entry that is stored unpacked and compares its CRC-32. Throws FileDamaged naming the entry.
void check_zip_entries(const std::string& path, const std::vector<ZipEntry>& entries);

std::uint32_t crc32(std::uint32_t crc, const void* data, std::size_t bytes) noexcept;

}  // namespace styleclip
