// NumPy's .npy and .npz (NumPy reference, numpy.lib.format): a magic, a version, the length of a header that is a Python
// dict of 'descr', 'fortran_order' and 'shape' in text, and the numbers; .npz is a zip file of them.
#include <charconv>
#include <string_view>

#include "checkpoint/containers.h"
#include "checkpoint/numpy_type.h"

namespace styleclip::checkpoint {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMostHeader =
    65536;  // of version 1; later ones may be longer, for records, which hold no plain numbers

struct Header {
  std::string descr;
  bool fortran = false;
  std::vector<std::int64_t> sizes;
  std::uint64_t data_at = 0;
};

/// The header's dict literal. Only the three keys that the format defines are allowed, each once.
class HeaderText {
 public:
  explicit HeaderText(std::string_view text) : text_(text) {}

  void read(Header& header) {
    expect('{');
    bool descr = false, order = false, shape = false;
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr" && !std::exchange(descr, true)) {
        header.descr = quoted();
      } else if (key == "fortran_order" && !std::exchange(order, true)) {
        header.fortran = word() == "True";
      } else if (key == "shape" && !std::exchange(shape, true)) {
        header.sizes = sizes();
      } else {
        damaged("its header has the key '" + std::string(key.substr(0, 40)) + "'");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!descr || !order || !shape) damaged("its header lacks descr, fortran_order or shape");
  }

 private:
  void skip_blanks() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n')) text_.remove_prefix(1);
  }
  bool accept(char c) {
    skip_blanks();
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) damaged("its header cannot be read");
  }
  std::string_view quoted() {
    skip_blanks();
    if (text_.starts_with('[')) unknown("it holds records, not plain numbers");
    if (text_.empty() || (text_.front() != '\'' && text_.front() != '"')) damaged("its header cannot be read");
    const std::size_t end = text_.find(text_.front(), 1);
    if (end == std::string_view::npos) damaged("its header cannot be read");
    const std::string_view value = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return value;
  }
  std::string_view word() {
    skip_blanks();
    for (const std::string_view one : {"True", "False"}) {
      if (!text_.starts_with(one)) continue;
      text_.remove_prefix(one.size());
      return one;
    }
    damaged("its header cannot be read");
  }
  std::vector<std::int64_t> sizes() {
    std::vector<std::int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      skip_blanks();
      std::int64_t size = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), size);
      if (error != std::errc{} || sizes.size() >= 64) damaged("its header has an impossible shape");
      text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
      if (text_.starts_with('L')) text_.remove_prefix(1);  // Python 2's long integers
      sizes.push_back(size);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return sizes;
  }

  std::string_view text_;
};

Header read_header(const Slice& start) {
  if (!start.text().starts_with(kMagic)) damaged("it does not begin as a .npy file");
  const std::uint8_t version = *start.part(6, 1).data;
  if (version < 1 || version > 3) unknown("it is of version " + std::to_string(version) + " of the .npy format");
  const std::size_t head = version == 1 ? 10 : 12;
  const Slice length = start.part(8, head - 8);
  const std::uint64_t bytes =
      version == 1 ? load_number<std::uint16_t>(length.data) : load_number<std::uint32_t>(length.data);
  if (bytes > kMostHeader) damaged("its header is " + std::to_string(bytes) + " bytes long");
  Header header;
  HeaderText(start.part(head, bytes).text()).read(header);
  header.data_at = head + bytes;
  return header;
}

/// The numbers' type, once `bytes` bytes of data are found to be what the header says.
NumpyType checked_type(const Header& header, std::uint64_t bytes) {
  if (header.descr.find('O') != std::string::npos) unknown("it holds Python objects (a pickle), not numbers");
  const auto type = numpy_type(header.descr);
  if (!type) unknown("it holds elements of the type '" + header.descr.substr(0, 40) + "', not plain numbers");
  if (bytes / c10::elementSize(type->type) < static_cast<std::uint64_t>(count_elements(header.sizes))) {
    damaged("it has " + std::to_string(bytes) + " bytes of numbers, too few for its shape");
  }
  return *type;
}

Value tensor_of(Reading& reading, const Header& header, const NumpyType& type, std::shared_ptr<NumberStore> store) {
  return reading.tensor(std::move(store), type.type, 0, header.sizes, dense_strides(header.sizes, header.fortran));
}

unsigned alignment_of(const NumpyType& type) { return static_cast<unsigned>(c10::elementSize(type.type)); }
unsigned swap_of(const NumpyType& type) { return type.big_endian ? swap_width(type.type) : 1; }

Value read_entry(Reading& reading, const ZipArchive& zip, const ZipEntry& entry) {
  const std::uint64_t head = std::min<std::uint64_t>(entry.bytes, 12 + kMostHeader);
  const Header header = read_header(entry.deflated ? zip.beginning(entry, head) : zip.packed(entry));
  if (header.data_at > entry.bytes) damaged("it ends inside its header");
  const NumpyType type = checked_type(header, entry.bytes - header.data_at);
  return tensor_of(reading, header, type, zip.store(reading, entry, header.data_at, alignment_of(type), swap_of(type)));
}

}  // namespace

bool is_npy(const Slice& bytes) { return bytes.text().starts_with(kMagic); }

Value read_npy(Reading& reading, const Slice& bytes) {
  const Header header = read_header(bytes);
  const Slice data = bytes.from(header.data_at);
  const NumpyType type = checked_type(header, data.size);
  return tensor_of(reading, header, type, reading.store(data, alignment_of(type), swap_of(type)));
}

bool is_npz(const ZipArchive& zip) {
  if (zip.entries().empty()) return false;
  for (const auto& [name, entry] : zip.entries()) {
    if (!name.ends_with(".npy")) return false;
  }
  return true;
}

Value read_npz(Reading& reading, const ZipArchive& zip) {
  Entries arrays;
  for (const auto& [name, entry] : zip.entries()) {
    reading.run().check();
    try {
      Value array = read_entry(reading, zip, entry);
      arrays.emplace_back(reading.text(name.substr(0, name.size() - 4)), std::move(array));
    } catch (const Flaw& flaw) {
      reading.fail(flaw, name);
    }
  }
  return reading.dict(std::move(arrays));
}

}  // namespace styleclip::checkpoint
