// Zip's table of contents and checksums (PKWARE APPNOTE 6.3.10: 4.3.7 local header, 4.3.12 central directory, 4.3.14-16
// ends of it, 4.5.3 zip64 field).
#include "models/zip_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                        kLocator64 = 0x07064b50;

// Eight tables, so that eight bytes are taken at a time (Kounavis and Berry, "slicing-by-8").
constexpr auto kTables = [] {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320U : 0U);
    tables[0][i] = value;
  }
  for (std::size_t t = 1; t < 8; ++t) {
    for (std::size_t i = 0; i < 256; ++i) {
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 255];
    }
  }
  return tables;
}();

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::FileDamaged, path + " is damaged: " + what + ".", "Get the file again, or make it again.");
}

class File {
 public:
  explicit File(const std::string& path) : path_(path), stream_(path, std::ios::binary) {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
      throw Error(ErrorCode::FileNotFound, path + " is a directory.", "Give a model file.");
    }
    if (!stream_) {
      throw Error(ErrorCode::FileNotFound, "Cannot open " + path + ": " + std::strerror(errno) + ".",
                  "Check the path and its permissions.");
    }
    size_ = std::filesystem::file_size(path, error);
    if (error)
      throw Error(ErrorCode::FileNotFound, "Cannot read " + path + ".", "Give a regular file.", error.message());
  }
  std::uint64_t size() const { return size_; }
  std::string read(std::uint64_t offset, std::uint64_t bytes) {
    if (offset > size_ || bytes > size_ - offset) damaged(path_, "it ends too early");
    std::string text(bytes, '\0');
    stream_.seekg(static_cast<std::streamoff>(offset));
    stream_.read(text.data(), static_cast<std::streamsize>(bytes));
    if (!stream_) damaged(path_, "it cannot be read to its end");
    return text;
  }

 private:
  std::string path_;
  std::ifstream stream_;
  std::uint64_t size_ = 0;
};

// The same of a file in memory.
class Memory {
 public:
  Memory(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}
  std::uint64_t size() const { return bytes_.size(); }
  std::string read(std::uint64_t offset, std::uint64_t bytes) const {
    if (offset > bytes_.size() || bytes > bytes_.size() - offset) damaged(path_, "it ends too early");
    return std::string(bytes_.substr(offset, bytes));
  }

 private:
  std::string_view bytes_;
  const std::string& path_;
};

// Little-endian number of 2, 4 or 8 bytes.
template <typename T>
T number(const std::string& text, std::size_t at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | static_cast<T>(static_cast<unsigned char>(text[at + i])) << (8 * i));
  }
  return value;
}

struct Directory {
  std::uint64_t offset, bytes, entries;
};

template <typename Source>
Directory find_directory(Source& file, const std::string& path) {
  const std::uint64_t tail_bytes = std::min<std::uint64_t>(file.size(), 22 + 65535);
  const std::uint64_t tail_at = file.size() - tail_bytes;
  const std::string tail = file.read(tail_at, tail_bytes);
  for (std::size_t at = tail.size() < 22 ? 0 : tail.size() - 21; at-- > 0;) {
    if (number<std::uint32_t>(tail, at) != kEnd) continue;
    Directory found{number<std::uint32_t>(tail, at + 16), number<std::uint32_t>(tail, at + 12),
                    number<std::uint16_t>(tail, at + 10)};
    if (at >= 20 && number<std::uint32_t>(tail, at - 20) == kLocator64) {
      const std::string end = file.read(number<std::uint64_t>(tail, at - 12), 56);
      if (number<std::uint32_t>(end, 0) != kEnd64) damaged(path, "its zip64 directory is not where it should be");
      found = {number<std::uint64_t>(end, 48), number<std::uint64_t>(end, 40), number<std::uint64_t>(end, 32)};
    }
    return found;
  }
  damaged(path, "the zip directory at its end is missing (is the file complete?)");
}

// Sizes and offset of 0xffffffff stand in the zip64 extra field, in this order, those that are needed only.
void read_zip64(const std::string& extra, ZipEntry& entry, const std::string& path) {
  for (std::size_t at = 0; at + 4 <= extra.size();) {
    const std::size_t bytes = number<std::uint16_t>(extra, at + 2);
    if (at + 4 + bytes > extra.size()) return;
    if (number<std::uint16_t>(extra, at) == 1) {
      std::size_t field = at + 4;
      for (std::uint64_t* value : {&entry.bytes, &entry.packed, &entry.header}) {
        if (*value != 0xffffffffU) continue;
        if (field + 8 > at + 4 + bytes) damaged(path, "a zip64 field is too short");
        *value = number<std::uint64_t>(extra, field);
        field += 8;
      }
    }
    at += 4 + bytes;
  }
}

template <typename Source>
std::vector<ZipEntry> read_directory(Source& file, const std::string& path) {
  if (file.size() == 0) damaged(path, "it is empty");
  if (file.size() < 4 || number<std::uint32_t>(file.read(0, 4), 0) != kLocal) {
    throw Error(ErrorCode::FormatUnknown, path + " is no TorchScript archive.",
                "Give an archive made by `styleclip make` or `styleclip import`, or a TorchScript module.");
  }
  const Directory directory = find_directory(file, path);
  const std::string table = file.read(directory.offset, directory.bytes);
  std::vector<ZipEntry> entries;
  std::size_t at = 0;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    if (at + 46 > table.size() || number<std::uint32_t>(table, at) != kCentral) damaged(path, "its zip directory");
    const std::size_t name = number<std::uint16_t>(table, at + 28), extra = number<std::uint16_t>(table, at + 30),
                      comment = number<std::uint16_t>(table, at + 32);
    if (at + 46 + name + extra + comment > table.size()) damaged(path, "its zip directory");
    if ((number<std::uint16_t>(table, at + 8) & 1U) != 0) {
      throw Error(ErrorCode::FormatUnknown, path + " is encrypted.",
                  "Unpack it, and save it again without a password.");
    }
    const std::uint16_t method = number<std::uint16_t>(table, at + 10);
    if (method != 0 && method != 8) damaged(path, "an entry is packed in an unknown way");
    ZipEntry entry{.name = table.substr(at + 46, name),
                   .header = number<std::uint32_t>(table, at + 42),
                   .packed = number<std::uint32_t>(table, at + 20),
                   .bytes = number<std::uint32_t>(table, at + 24),
                   .crc = number<std::uint32_t>(table, at + 16),
                   .deflated = method == 8};
    read_zip64(table.substr(at + 46 + name, extra), entry, path);
    entries.push_back(std::move(entry));
    at += 46 + name + extra + comment;
  }
  return entries;
}

}  // namespace

std::uint32_t crc32(std::uint32_t crc, const void* data, std::size_t bytes) noexcept {
  const auto* at = static_cast<const std::uint8_t*>(data);
  crc = ~crc;
  for (; bytes >= 8; at += 8, bytes -= 8) {
    const std::uint32_t low = crc ^ (at[0] | at[1] << 8 | at[2] << 16 | static_cast<std::uint32_t>(at[3]) << 24);
    crc = kTables[7][low & 255] ^ kTables[6][(low >> 8) & 255] ^ kTables[5][(low >> 16) & 255] ^ kTables[4][low >> 24] ^
          kTables[3][at[4]] ^ kTables[2][at[5]] ^ kTables[1][at[6]] ^ kTables[0][at[7]];
  }
  for (; bytes > 0; ++at, --bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ *at) & 255];
  return ~crc;
}

std::vector<ZipEntry> read_zip_directory(const std::string& path) {
  File file(path);
  return read_directory(file, path);
}

std::vector<ZipEntry> read_zip_directory(std::string_view file, const std::string& path) {
  Memory memory(file, path);
  return read_directory(memory, path);
}

void check_zip_entries(const std::string& path, const std::vector<ZipEntry>& entries) {
  File file(path);
  for (const ZipEntry& entry : entries) {
    const std::string header = file.read(entry.header, 30);
    if (number<std::uint32_t>(header, 0) != kLocal) damaged(path, "the header of '" + entry.name + "'");
    if (entry.deflated) continue;
    std::uint64_t at = entry.header + 30 + number<std::uint16_t>(header, 26) + number<std::uint16_t>(header, 28);
    std::uint32_t crc = 0;
    for (std::uint64_t left = entry.packed; left > 0;) {
      const std::string piece = file.read(at, std::min<std::uint64_t>(left, 1 << 20));
      crc = crc32(crc, piece.data(), piece.size());
      at += piece.size(), left -= piece.size();
    }
    if (crc != entry.crc) damaged(path, "the checksum of '" + entry.name + "' is wrong");
  }
}

}  // namespace styleclip
