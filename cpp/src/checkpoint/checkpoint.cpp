// Opens a file, finds out by its first bytes what it is, checks its sums in one pass, and hands it to its reader.
#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "checkpoint/containers.h"
#include "checkpoint/mapping.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/unpickler.h"
#include "runtime/sha256.h"

namespace styleclip::checkpoint {

struct Checkpoint::Impl {
  explicit Impl(const std::string& name) : path(name), file(name) {}

  std::string path, sha256;
  Mapping file;
  Container container = Container::Pickle;
  std::int64_t bytes = 0;
  std::unique_ptr<Arena> arena;
  Value root;
  std::map<std::string, std::string> metadata;
};

namespace {

bool begins(const Slice& bytes, std::string_view with) { return bytes.text().starts_with(with); }

/// The one folder that holds a data.pkl; "" when there is none.
std::string torch_folder(const ZipArchive& zip) {
  std::string folder;
  for (const auto& [name, entry] : zip.entries()) {
    const std::size_t slash = name.find('/');
    if (slash == std::string::npos || slash == 0 || name.substr(slash + 1) != "data.pkl") continue;
    if (!folder.empty()) unknown("it holds two archives, '" + folder + "' and '" + name.substr(0, slash) + "'");
    folder = name.substr(0, slash);
  }
  return folder;
}

bool is_torchscript(const ZipArchive& zip, const std::string& folder) {
  if (zip.find(folder + "/constants.pkl") != nullptr) return true;
  const auto code = zip.entries().lower_bound(folder + "/code/");
  return code != zip.entries().end() && code->first.starts_with(folder + "/code/");
}

/// The file's SHA-256, and the CRC-32 of its regions (in order, apart from each other), in one pass.
std::string check_sums(const Mapping& file, const std::vector<Region>& regions, const RunContext& run) {
  Sha256 hash;
  ProgressMeter meter(run, "read", static_cast<std::int64_t>(file.size()), "bytes");
  std::size_t next = 0;
  std::uint32_t crc = 0;
  file.stream([&](std::uint64_t at, const std::uint8_t* data, std::size_t size) {
    hash.update(data, size);
    const std::uint64_t end = at + size;
    while (next < regions.size() && regions[next].begin < end) {
      const Region& region = regions[next];
      const std::uint64_t from = std::max(at, region.begin), to = std::min(end, region.end);
      if (to > from) crc = crc32(crc, data + (from - at), to - from);
      if (region.end > end) break;
      if (crc != region.crc) damaged("the checksum of '" + region.name + "' is wrong");
      crc = 0, ++next;
    }
    meter.step(static_cast<std::int64_t>(size));
  });
  return hash.hex();
}

/// What people take for a checkpoint and is none.
[[noreturn]] void refuse_other(const Slice& bytes) {
  const std::string_view text = bytes.text();
  constexpr std::size_t kTarMagicAt = 257;
  if (text.size() > kTarMagicAt + 5 && text.substr(kTarMagicAt, 5) == "ustar") {
    unknown(
        "it is a tar archive, as PyTorch wrote before version 1.0: load it with an older PyTorch and save it again");
  }
  if (text.starts_with("\x1f\x8b")) unknown("it is packed with gzip: unpack it first");
  if (text.starts_with("<") || text.starts_with("\n<")) unknown("it is a web page: the download went wrong");
  if (text.starts_with("version https://git-lfs")) unknown("it stands for a file of Git LFS that was not fetched");
  unknown("it is neither torch's, a pickle, safetensors nor NumPy's");
}

/// Whether bytes could be a pickle: protocols 2 and up say so, older ones begin with one of a few opcodes and end in '.'.
bool may_be_pickle(const Slice& bytes) {
  if (bytes.data[0] == 0x80) return bytes.size > 1;
  return std::string_view("(c}])lpdFILSVN").find(static_cast<char>(bytes.data[0])) != std::string_view::npos &&
         bytes.data[bytes.size - 1] == '.';
}

}  // namespace

const char* container_name(Container container) noexcept {
  switch (container) {
    case Container::TorchZip: return "torch zip";
    case Container::TorchLegacy: return "legacy torch";
    case Container::TorchScript: return "TorchScript archive";
    case Container::Pickle: return "pickle";
    case Container::Safetensors: return "safetensors";
    case Container::Npy: return "npy";
    case Container::Npz: return "npz";
  }
  return "unknown";
}

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

const std::string& Checkpoint::path() const noexcept { return impl_->path; }
Container Checkpoint::container() const noexcept { return impl_->container; }
std::int64_t Checkpoint::bytes() const noexcept { return impl_->bytes; }
const std::string& Checkpoint::sha256() const noexcept { return impl_->sha256; }
const Value& Checkpoint::root() const noexcept { return impl_->root; }
const std::map<std::string, std::string>& Checkpoint::metadata() const noexcept { return impl_->metadata; }
void Checkpoint::release(const void* data, std::size_t bytes) const noexcept { impl_->file.release(data, bytes); }

Checkpoint Checkpoint::read(const std::string& path, const RunContext& run, const Limits& limits) {
  auto impl = std::make_unique<Impl>(path);
  const Mapping& file = impl->file;
  Reading reading(path, file.size(), run, limits);
  impl->bytes = static_cast<std::int64_t>(file.size());
  const Slice& bytes = file.bytes();
  const auto sum = [&](const std::vector<Region>& regions = {}) { impl->sha256 = check_sums(file, regions, run); };
  try {
    if (begins(bytes, "PK\x03\x04") || begins(bytes, "PK\x05\x06")) {
      const ZipArchive zip(reading, bytes);
      const std::string folder = torch_folder(zip);
      if (folder.empty() && !is_npz(zip)) unknown("it is a zip archive with neither a data.pkl nor arrays in it");
      sum(zip.regions());
      impl->container = folder.empty()                ? Container::Npz
                        : is_torchscript(zip, folder) ? Container::TorchScript
                                                      : Container::TorchZip;
      impl->root = folder.empty() ? read_npz(reading, zip) : read_torch_zip(reading, zip, folder);
      if (impl->container == Container::TorchScript) impl->root = flatten_torchscript(reading, impl->root);
    } else if (is_npy(bytes)) {
      sum();
      impl->container = Container::Npy;
      impl->root = read_npy(reading, bytes);
    } else if (is_torch_legacy(bytes)) {
      sum();
      impl->container = Container::TorchLegacy;
      impl->root = read_torch_legacy(reading, bytes, "", 0);
    } else if (is_safetensors(bytes)) {
      sum();
      impl->container = Container::Safetensors;
      impl->root = read_safetensors(reading, bytes, impl->metadata);
    } else if (may_be_pickle(bytes)) {
      sum();
      impl->root = Unpickler(reading, bytes, "").next();
    } else {
      refuse_other(bytes);
    }
    reading.finish(impl->root);
  } catch (const Flaw& flaw) {
    reading.fail(flaw);
  } catch (...) {
    rethrow_translated("read " + path);
  }
  impl->arena = reading.take_arena();
  release_pages(bytes);
  return Checkpoint(std::move(impl));
}

}  // namespace styleclip::checkpoint
