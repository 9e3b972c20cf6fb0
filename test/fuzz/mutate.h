// Damage to files, drawn from a seed: the same seed gives the same damage.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace fuzz {

/// One of the corpus's files after one to four random edits: bits, bytes, integers of every width, pickle opcodes, ranges
/// cut out, repeated or taken from another file, and truncation. In seven of eight zip files among them the checksums
/// are set right again, since a wrong one is all that a reader would see.
std::string mutate(const std::vector<std::string>& corpus, std::uint64_t seed);

}  // namespace fuzz
