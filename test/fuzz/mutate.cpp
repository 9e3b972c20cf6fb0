// The mutator.
#include "mutate.h"

#include <algorithm>
#include <cstring>

#include "models/zip_file.h"

namespace fuzz {
namespace {

using Random = std::mt19937_64;

// Where lengths, counts and offsets go wrong.
constexpr std::uint64_t kEdges[] = {0,          1,           2,          0x7f,       0x80,      0xff,       0x7fff,
                                    0x8000,     0xffff,      0x10000,    0x7fffffff, 1U << 31U, 0xffffffff, 1ULL << 32,
                                    1ULL << 40, 1ULL << 61U, 1ULL << 62, 1ULL << 63, ~0ULL,     ~0ULL - 7};
// Every opcode of protocols 0 to 5.
constexpr char kOpcodes[] =
    "(.012FIJKLMNPQRSTUVXabcde}ghijl]opqrst)uG\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b"
    "BC\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98";

std::size_t below(Random& random, std::size_t bound) { return bound == 0 ? 0 : random() % bound; }

/// A random range, mostly short.
std::pair<std::size_t, std::size_t> range(Random& random, const std::string& file) {
  const std::size_t at = below(random, file.size() + 1);
  const std::size_t most = below(random, 4) == 0 ? file.size() : 32;
  return {at, std::min(file.size() - at, below(random, most + 1))};
}

void write_integer(Random& random, std::string& file) {
  const std::size_t width = std::size_t{1} << below(random, 4);
  if (file.size() < width) return;
  const std::size_t at = below(random, file.size() - width + 1);
  std::uint64_t value = kEdges[below(random, std::size(kEdges))] + below(random, 3) - 1;
  if (below(random, 3) == 0) {  // near what was there
    value = 0;
    std::memcpy(&value, file.data() + at, width);
    value += below(random, 33) - 16;
  }
  for (std::size_t i = 0; i < width; ++i) file[at + i] = static_cast<char>(value >> (8 * i));
}

void edit(Random& random, std::string& file, const std::vector<std::string>& corpus) {
  const auto [at, bytes] = range(random, file);
  switch (below(random, 10)) {
    case 0:
      if (at < file.size()) file[at] = static_cast<char>(file[at] ^ (1 << below(random, 8)));
      break;
    case 1:
      if (at < file.size()) file[at] = static_cast<char>(random());
      break;
    case 2:
    case 3: write_integer(random, file); break;
    case 4:
      if (at < file.size()) file[at] = kOpcodes[below(random, sizeof kOpcodes - 1)];
      break;
    case 5: file.insert(at, 1 + below(random, 4), kOpcodes[below(random, sizeof kOpcodes - 1)]); break;
    case 6: file.erase(at, bytes); break;
    case 7: file.insert(below(random, file.size() + 1), file.substr(at, bytes)); break;
    case 8: {
      const std::string& other = corpus[below(random, corpus.size())];
      const auto [from, length] = range(random, other);
      file.replace(at, bytes, other, from, length);
      break;
    }
    default:
      if (below(random, 3) == 0) file.resize(at);
      break;
  }
}

std::uint64_t number(const std::string& file, std::size_t at, std::size_t width) {
  std::uint64_t value = 0;
  std::memcpy(&value, file.data() + at, width);
  return value;
}

/// Writes the checksum of every stored entry, as it is now, into the zip directory.
void repair_checksums(std::string& file) {
  for (std::size_t at = file.find("PK\x01\x02"); at != std::string::npos; at = file.find("PK\x01\x02", at + 4)) {
    if (at + 46 > file.size()) return;
    const std::uint64_t bytes = number(file, at + 20, 4), local = number(file, at + 42, 4);
    if (number(file, at + 10, 2) != 0 || local + 30 > file.size()) continue;
    const std::uint64_t begin = local + 30 + number(file, local + 26, 2) + number(file, local + 28, 2);
    if (begin > file.size() || bytes > file.size() - begin) continue;
    const std::uint32_t crc = styleclip::crc32(0, file.data() + begin, bytes);
    std::memcpy(file.data() + at + 16, &crc, sizeof crc);
  }
}

}  // namespace

std::string mutate(const std::vector<std::string>& corpus, std::uint64_t seed) {
  Random random(seed);
  std::string file = corpus[below(random, corpus.size())];
  for (std::size_t edits = 1 + below(random, 4); edits > 0; --edits) edit(random, file, corpus);
  if (below(random, 8) > 0 && file.starts_with("PK")) repair_checksums(file);
  return file;
}

}  // namespace fuzz
