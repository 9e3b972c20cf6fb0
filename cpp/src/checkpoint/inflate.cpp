// miniz's decompressor behind a function that bounds what it may write. Its code lies inside our namespace, so that it
// never meets another copy of miniz in the same process (libtorch has one).
#include "checkpoint/inflate.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

namespace styleclip::checkpoint {
namespace {

using mz_uint = unsigned int;
using mz_uint8 = std::uint8_t;
using mz_uint16 = std::uint16_t;
using mz_int16 = std::int16_t;
using mz_uint32 = std::uint32_t;
using mz_uint64 = std::uint64_t;
using std::memcpy;  // NOLINT(misc-unused-using-decls): miniz, included below, calls it
using std::memset;  // NOLINT(misc-unused-using-decls): likewise

#define MINIZ_HAS_64BIT_REGISTERS 1
#define MZ_MACRO_END while (0)
#define MZ_MIN(a, b) (((a) < (b)) ? (a) : (b))
#define MZ_MAX(a, b) (((a) > (b)) ? (a) : (b))
#define MZ_ASSERT(condition) ((void)0)  // input must not end the process
#define MZ_CLEAR_OBJ(object) memset(&(object), 0, sizeof(object))
#define MZ_READ_LE16(at) load_number<mz_uint16>(at)
#define MZ_READ_LE32(at) load_number<mz_uint32>(at)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <miniz/tinfl.inc>
#pragma GCC diagnostic pop

using Piece = std::function<void(const std::uint8_t* data, std::size_t size)>;

/// Hands over at most `bytes` bytes; true when the stream ended by then, soundly, and false when it goes on.
bool unpack(const Slice& packed, std::uint64_t bytes, const Piece& piece) {
  const auto machine = std::make_unique<tinfl_decompressor>();
  tinfl_init(machine.get());
  std::vector<std::uint8_t> window(TINFL_LZ_DICT_SIZE);
  std::size_t in = 0, out = 0;
  for (std::uint64_t left = bytes;;) {
    std::size_t taken = packed.size - in, made = window.size() - out;
    const tinfl_status status =
        tinfl_decompress(machine.get(), packed.data + in, &taken, window.data(), window.data() + out, &made, 0);
    const std::size_t wanted = std::min<std::uint64_t>(made, left);
    if (wanted > 0) piece(window.data() + out, wanted);
    if (made > left) return false;
    in += taken, left -= wanted, out = (out + made) % window.size();
    if (status == TINFL_STATUS_DONE) {
      if (left > 0) damaged("a deflated entry is shorter than it says");
      return true;
    }
    if (status != TINFL_STATUS_HAS_MORE_OUTPUT) damaged("a deflated entry cannot be unpacked");
  }
}

}  // namespace

void inflate(const Slice& packed, std::uint64_t bytes, const Piece& piece) {
  if (!unpack(packed, bytes, piece)) damaged("a deflated entry is longer than it says");
}

void inflate_beginning(const Slice& packed, std::uint64_t bytes, const Piece& piece) { unpack(packed, bytes, piece); }

}  // namespace styleclip::checkpoint
