// Files that are broken, or made to harm: nothing runs, nothing is leaked, memory and time stay small, and the message
// says what is wrong and where.
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>

#include "checkpoint_fixture.h"

using namespace checkpoint_fixture;
using Kind = Value::Kind;
using namespace std::string_literals;

namespace {

std::string repeat(const std::string& text, std::size_t times) {
  std::string all;
  all.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

long peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

void check_refused(const std::string& bytes, ErrorCode code, const std::string& words, const Limits& limits = {}) {
  const Error error = failure(bytes, limits);
  CHECK(error.code() == code);
  CHECK_MESSAGE(says(error, words), std::string(error.what()));
}

}  // namespace

TEST_CASE("a pickle that would run a command is refused by name, and nothing ran") {
  const std::filesystem::path before = std::filesystem::current_path();
  const std::filesystem::path here =
      std::filesystem::temp_directory_path() / ("styleclip-hostile-" + std::to_string(::getpid()));
  std::filesystem::create_directory(here);
  std::filesystem::current_path(here);  // the commands would make their file here
  std::size_t files = 0;
  for (const auto& [name, wanted] : expected().items()) {
    if (!name.starts_with("hostile-")) continue;
    INFO(name);
    const Error error = error_of([&] { read(folder() + name); });
    CHECK(error.code() == ErrorCode::FormatUnknown);
    CHECK_MESSAGE(says(error, wanted["words"].get<std::string>()), std::string(error.what()));
    CHECK(error.remedy().starts_with("Nothing of it was run"));
    ++files;
  }
  CHECK(files == 12);
  CHECK(std::filesystem::is_empty(here));
  std::filesystem::current_path(before);
  std::filesystem::remove_all(here);
}

TEST_CASE("an unknown class stays an object: it is named, filled, and never called") {
  const auto file = read_bytes(
      "\x80\x02"
      "cmy.module\nThing\n)\x81}U\x01kK\x05sbU\x01qK\x07s."s);
  const Value& root = file.root();
  REQUIRE(root.is(Kind::Object));
  CHECK(root.class_name() == "my.module.Thing");
  CHECK(root.arguments().items().empty());
  REQUIRE(root.find("k") != nullptr);
  CHECK(root.find("k")->integer() == 5);  // of its state
  REQUIRE(root.find("q") != nullptr);
  CHECK(root.find("q")->integer() == 7);  // set as an item
  CHECK(root.find("r") == nullptr);
}

TEST_CASE("a key that comes twice keeps its last value") {
  const auto file = read_bytes(
      "\x80\x02}(U\x01"
      "aK\x01U\x01"
      "bK\x02U\x01"
      "aK\x03u."s);
  REQUIRE(file.root().entries().size() == 2);
  CHECK(file.root().find("a")->integer() == 3);
}

TEST_CASE("damage is told with its place") {
  check_refused("\x80\x02."s, ErrorCode::FileDamaged, "its stack is empty");
  check_refused("\x80\x02(K\x01"s, ErrorCode::FileDamaged, "at byte 5: it ends too early");
  check_refused("\x80\x02\xff."s, ErrorCode::FileDamaged, "at byte 2: the unknown opcode 0xff");
  check_refused("\x80\x09N."s, ErrorCode::FormatUnknown, "protocol 9");
  check_refused("\x80\x02h\x07."s, ErrorCode::FileDamaged, "number 7 of its memo");
  check_refused("\x80\x02]K\x01K\x02s."s, ErrorCode::FileDamaged, "sets an item of a List");
  check_refused("\x80\x02X\x02\x00\x00\x00\xc3\x28."s, ErrorCode::FileDamaged, "not UTF-8");
  check_refused("\x80\x02K\x01K\x01\x85R."s, ErrorCode::FileDamaged, "calls an Int");
  check_refused("\x80\x05\x97."s, ErrorCode::FormatUnknown, "outside the file");
  check_refused("\x80\x02\x82\x01."s, ErrorCode::FormatUnknown, "registered number");
  check_refused("\x80\x02U\x01xQ."s, ErrorCode::FormatUnknown, "data outside itself");
  check_refused("hello", ErrorCode::FormatUnknown, "neither torch's");
  check_refused("<!DOCTYPE html>", ErrorCode::FormatUnknown, "web page");
  check_refused("\x1f\x8b\x08gzip"s, ErrorCode::FormatUnknown, "gzip");
  check_refused("", ErrorCode::FileDamaged, "is empty");
  CHECK(error_of([] { read("no/such/file"); }).code() == ErrorCode::FileNotFound);
  CHECK(error_of([] { read("."); }).code() == ErrorCode::FileNotFound);
}

TEST_CASE("every truncation of every file is an error, or what a pickle's reader takes for its end") {
  std::size_t cases = 0;
  for (const std::string name : {"zip-protocol2.pt", "legacy-protocol4.pth", "torchscript.pt", "nvidia-protocol4.pkl",
                                 "tensors.safetensors", "compressed.npz", "c-order.npy"}) {
    const std::string whole = contents(folder() + name);
    for (std::size_t bytes = 1; bytes < whole.size(); bytes += 1 + whole.size() / 60) {
      const Error error = failure(whole.substr(0, bytes));
      CHECK((error.code() == ErrorCode::FileDamaged || error.code() == ErrorCode::FormatUnknown));
      ++cases;
    }
  }
  CHECK(cases > 300);
}

TEST_CASE("deep, cyclic and self-repeating trees end") {
  SUBCASE("two hundred thousand lists in each other") {
    check_refused("\x80\x02" + repeat("]", 200'000) + repeat("a", 199'999) + ".", ErrorCode::FormatUnknown,
                  "nests deeper");
  }
  SUBCASE("as many dropped half way") {
    check_refused("\x80\x02" + repeat("]", 200'000) + repeat("a", 199'999) + "\xff", ErrorCode::FileDamaged,
                  "unknown opcode");
  }
  SUBCASE("a list that holds itself is read, and freed (a leak would be AddressSanitizer's to tell)") {
    const auto file = read_bytes(
        "\x80\x02]q\x00h\x00"
        "a."s);
    REQUIRE(file.root().items().size() == 1);
    CHECK(file.root().items()[0].node() == file.root().node());
  }
  SUBCASE("forty lists of twice the list before") {
    std::string laughs = "\x80\x02]q\x00"s;
    for (char i = 1; i <= 40; ++i)
      laughs += "0](h"s + static_cast<char>(i - 1) + "h" + static_cast<char>(i - 1) + "eq" + i;
    check_refused(laughs + ".", ErrorCode::FormatUnknown, "cannot be walked");
  }
}

TEST_CASE("limits hold, each by its own message") {
  const std::string many = "\x80\x02(" + repeat("K\x01", 1000) + "t.";
  check_refused(many, ErrorCode::FormatUnknown, "operations", {.operations = 500});
  check_refused(many, ErrorCode::FormatUnknown, "more than 500 values", {.values = 500});
  const std::string text = "\x80\x02X\x40\x00\x00\x00"s + repeat("x", 64) + ".";
  CHECK(read_bytes(text).root().text().size() == 64);
  check_refused(text, ErrorCode::FormatUnknown, "more than 63 bytes of text", {.text_bytes = 63});
  const std::string nested = "\x80\x02" + repeat("]", 20) + repeat("a", 19) + ".";
  CHECK(read_bytes(nested, {.depth = 20}).root().items().size() == 1);
  check_refused(nested, ErrorCode::FormatUnknown, "nests deeper than 19", {.depth = 19});
  check_refused(contents(folder() + "compressed.npz"), ErrorCode::FormatUnknown, "zip bomb", {.unpacked_bytes = 100});
}

TEST_CASE("declared sizes that the file does not have cost nothing") {
  const long before = peak_mib();
  check_refused("\x80\x04\x8e" + little(1ULL << 40, 8) + "x.", ErrorCode::FileDamaged, "ends too early");
  check_refused("\x80\x02\x8b" + little(0x7fffffff, 4) + "x.", ErrorCode::FileDamaged, "ends too early");
  check_refused("\x80\x04\x95" + little(1ULL << 62, 8) + "N.", ErrorCode::FileDamaged, "frame");
  check_refused(little(1ULL << 39, 8) + "{}", ErrorCode::FileDamaged, "header length");
  check_refused("\x93NUMPY\x01\x00"s + little(79, 2) +
                    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }" + repeat(" ", 11) + "\n",
                ErrorCode::FileDamaged, "too few for its shape");
  CHECK(peak_mib() - before < 64);
}

TEST_CASE("an entry may not unpack to more than it says, nor say more than a checkpoint would") {
  const std::string whole = contents(folder() + "compressed.npz");
  const std::size_t place = whole.find("PK\x01\x02") + 24;  // of the first entry's size, in the zip's directory
  const auto saying = [&](std::uint64_t bytes) { return std::string(whole).replace(place, 4, little(bytes, 4)); };
  std::uint64_t honest = 0;
  std::memcpy(&honest, whole.data() + place, 4);
  CHECK(read_bytes(saying(honest)).root().entries().size() > 1);
  const long before = peak_mib();
  check_refused(saying(0xfffffff0), ErrorCode::FormatUnknown, "zip bomb");
  for (const std::uint64_t bytes : {honest - 1, honest + 1, std::uint64_t{32} << 20}) {
    CHECK(failure(saying(bytes)).code() == ErrorCode::FileDamaged);
  }
  CHECK(peak_mib() - before < 64);
}

TEST_CASE("a tensor may not leave its storage, nor repeat it without end") {
  // [float32 × 2] as a NumPy array whose state says three.
  const std::string head =
      "\x80\x02"
      "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01"
      "btR(K\x01"s;
  const std::string type =
      "cnumpy\ndtype\n(U\x02"
      "f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"s;
  const auto array = [&](const std::string& shape) {
    return head + shape + type + "I00\nU\x08" + std::string(8, '\0') + "tb.";
  };
  CHECK(read_bytes(array("K\x02\x85")).root().tensor().numel() == 2);
  check_refused(array("K\x03\x85"), ErrorCode::FileDamaged, "an array of 3 numbers has 8 bytes");
  check_refused(array("J\xff\xff\xff\xff\x85"), ErrorCode::FileDamaged, "negative size");
  check_refused(array("\x8a\x08" + little(1ULL << 62, 8) + "K\x04\x86"), ErrorCode::FileDamaged, "impossible");
}

TEST_CASE("checksums of zip entries are compared") {
  std::string file = contents(folder() + "one-tensor.pt");
  const std::size_t at = file.find("\x01\x00\x00\x00\x00\x00\x00\x00\x02"s);  // the second of [0, 1, 2]
  REQUIRE(at != std::string::npos);
  file[at] ^= 1;
  check_refused(file, ErrorCode::FileDamaged, "the checksum of 'one-tensor/data/0' is wrong");
}

TEST_CASE("tensors outlive their checkpoint") {
  at::Tensor mapped, copied;
  {
    const auto zip = read(folder() + "one-tensor.pt");
    mapped = zip.root().tensor();
    const auto pickled = read(folder() + "arrays-protocol4.pkl");
    copied = pickled.root().find("floats")->tensor();
  }
  CHECK(at::equal(mapped, at::arange(3)));
  CHECK(copied.numel() == 6);
  CHECK(copied.min().item<float>() == -1);
}

TEST_CASE("cancelling stops a read") {
  styleclip::CancelFlag flag;
  flag.set();
  styleclip::RunContext run;
  run.cancel = &flag;
  CHECK_THROWS_AS(Checkpoint::read(folder() + "zip-protocol2.pt", run), styleclip::Aborted);
}
