// The runtime's small parts against published test vectors, and files that appear whole or not at all.
#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <new>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "models/zip_file.h"
#include "runtime/atomic_file.h"
#include "runtime/philox.h"
#include "runtime/sha256.h"
#include "styleclip/run.h"
#include "styleclip/runtime.h"
#include "tiny_world.h"

using styleclip::ErrorCode;
using tiny::error_of;

namespace {

// A folder of its own, gone with the object.
struct Folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("styleclip-folder-" + std::to_string(getpid()));
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string file(const char* name) const { return (path / name).string(); }
  std::ptrdiff_t entries() const { return std::distance(std::filesystem::directory_iterator(path), {}); }
};

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

template <typename Thrown>
styleclip::Error translated(const Thrown& thrown) {
  return error_of([&] {
    try {
      throw thrown;
    } catch (...) {
      styleclip::rethrow_translated("try something");
    }
  });
}

}  // namespace

TEST_CASE("Philox 4x32-10: the known answers of Random123") {
  using Words = styleclip::PhiloxWords;
  CHECK(styleclip::philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(styleclip::philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(styleclip::philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("normal numbers: Box-Muller of the words, by sample and element alone, with the right moments") {
  float pair[4];
  styleclip::philox_normal(pair, 4, 0, 0, 0);
  const double u = (0x6627e8d5 + 1.0) / 4294967296.0, v = (0xe169c58d + 1.0) / 4294967296.0;
  CHECK(pair[0] == doctest::Approx(std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v)).epsilon(1e-6));
  CHECK(pair[1] == doctest::Approx(std::sqrt(-2 * std::log(u)) * std::sin(2 * M_PI * v)).epsilon(1e-6));
  std::vector<float> all(6), some(5);
  styleclip::philox_normal(all.data(), 6, 12, 3, 1ULL << 40);
  styleclip::philox_normal(some.data(), 5, 12, 3, 1ULL << 40);
  for (int i = 0; i < 5; ++i) CHECK(all[i] == some[i]);

  const std::int64_t n = 200000;
  at::Tensor x = at::empty({n});
  styleclip::philox_normal(x.data_ptr<float>(), n, 77, 0, 0);
  const at::Tensor d = x.to(at::kDouble);
  // Five standard errors each: 1/sqrt(n), sqrt(2/n), sqrt(96/n) of the fourth moment.
  CHECK(std::abs(d.mean().item<double>()) < 5 / std::sqrt(n));
  CHECK(std::abs(d.square().mean().item<double>() - 1) < 5 * std::sqrt(2.0 / n));
  CHECK(std::abs(d.pow(4).mean().item<double>() - 3) < 5 * std::sqrt(96.0 / n));
  styleclip::philox_uniform(x.data_ptr<float>(), n, 77, 0, 0);
  CHECK(x.min().item<float>() >= 0);
  CHECK(x.max().item<float>() < 1);
  CHECK(std::abs(x.to(at::kDouble).mean().item<double>() - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
}

TEST_CASE("SHA-256 and CRC-32: published vectors, any way of cutting the input") {
  CHECK(styleclip::sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(styleclip::sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(styleclip::sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  const std::string million(1000000, 'a');
  CHECK(styleclip::sha256_hex(million) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  styleclip::Sha256 pieces;
  for (std::size_t at = 0; at < million.size(); at += 997)
    pieces.update(million.data() + at, std::min<std::size_t>(997, million.size() - at));
  CHECK(pieces.hex() == styleclip::sha256_hex(million));
  CHECK(styleclip::crc32(0, "123456789", 9) == 0xcbf43926);
  CHECK(styleclip::crc32(styleclip::crc32(0, "12345", 5), "6789", 4) == 0xcbf43926);
}

TEST_CASE("a file appears whole, replaces its predecessor, and leaves nothing else") {
  const Folder folder;
  styleclip::write_file_atomic(folder.file("a"), "first");
  styleclip::write_file_atomic(folder.file("a"), "second");
  CHECK(text_of(folder.file("a")) == "second");
  CHECK(folder.entries() == 1);
  CHECK(error_of([&] { styleclip::write_file_atomic(folder.file("no/such/place"), "x"); }).code() == ErrorCode::Disk);
  std::filesystem::create_directory(folder.path / "taken");
  CHECK(error_of([&] { styleclip::write_file_atomic(folder.file("taken"), "x"); }).code() == ErrorCode::Disk);
  CHECK(folder.entries() == 2);
}

TEST_CASE("a file for the first who comes: the second one is told, and changes nothing") {
  const Folder folder;
  const auto put = [&](const std::string& text) {
    styleclip::AtomicFile file(folder.file("a"));
    file.write(text.data(), text.size());
    return file.commit_new();
  };
  CHECK(put("first"));
  CHECK_FALSE(put("second"));
  CHECK(text_of(folder.file("a")) == "first");
  CHECK(folder.entries() == 1);
}

TEST_CASE("beyond a file-size limit: an error of code Disk, the process lives, the old file stands") {
  const Folder folder;
  styleclip::write_file_atomic(folder.file("a"), "old");
  const std::string bytes(100000, 'x');
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit{4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    int outcome = 1;
    try {
      styleclip::write_file_atomic(folder.file("a"), bytes);
    } catch (const styleclip::Error& error) {
      outcome = error.code() == ErrorCode::Disk ? 42 : 2;
    }
    // The signal was taken away: unblocked again, none is pending.
    sigset_t pending;
    sigpending(&pending);
    _exit(sigismember(&pending, SIGXFSZ) == 1 ? 3 : outcome);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK_FALSE(WIFSIGNALED(status));
  CHECK(WEXITSTATUS(status) == 42);
  CHECK(folder.entries() == 1);
  CHECK(text_of(folder.file("a")) == "old");
}

TEST_CASE("native exceptions become errors with a code; ours and aborts pass") {
  CHECK(translated(std::bad_alloc()).code() == ErrorCode::OutOfMemory);
  CHECK(translated(std::runtime_error("odd")).code() == ErrorCode::Internal);
  CHECK(translated(std::runtime_error("odd")).cause() == "odd");
  CHECK(translated(styleclip::Error(ErrorCode::Shape, "m", "r")).code() == ErrorCode::Shape);
  CHECK(error_of([] {
          try {
            at::ones({2}).view({3});
          } catch (...) {
            styleclip::rethrow_translated("view");
          }
        }).code() == ErrorCode::Internal);
  CHECK(error_of([] {
          try {
            at::empty({std::int64_t{1} << 55});  // libtorch's CPU allocator says no
          } catch (...) {
            styleclip::rethrow_translated("allocate");
          }
        }).code() == ErrorCode::OutOfMemory);
  CHECK_THROWS_AS(
      [] {
        try {
          throw styleclip::Aborted();
        } catch (...) {
          styleclip::rethrow_translated("abort");
        }
      }(),
      styleclip::Aborted);
  CHECK(std::string(styleclip::code_name(ErrorCode::FileNotFound)) == "ERR_STYLECLIP_FILE_NOT_FOUND");
}

TEST_CASE("what libtorch says where memory runs out, in all its libraries' words") {
  for (const char* text :
       {"[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
        "CUDA out of memory. Tried to allocate 20.00 MiB.", "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
        "Unable to find a valid cuDNN algorithm to run convolution"}) {
    CAPTURE(text);
    const styleclip::Error error = translated(std::runtime_error(text));
    CHECK(error.code() == ErrorCode::OutOfMemory);
    CHECK(error.cause() == text);
  }
  // Where no engine is found it may be for another reason: that is what the message says.
  const styleclip::Error engine = translated(std::runtime_error("FIND was unable to find an engine to execute this"));
  CHECK(std::string(engine.what()).find("cuDNN finds no way") != std::string::npos);
  for (const char* text :
       {"cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "cuDNN error: CUDNN_STATUS_BAD_PARAM",
        "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm`", "CUDA error: an illegal memory access"}) {
    CAPTURE(text);
    CHECK(translated(std::runtime_error(text)).code() == ErrorCode::Internal);
  }
}

TEST_CASE("progress: counts, the end always told, stopped by the flag") {
  std::vector<styleclip::Progress> told;
  styleclip::CancelFlag flag;
  styleclip::RunContext run;
  run.cancel = &flag;
  run.progress = [&](const styleclip::Progress& progress) { told.push_back(progress); };
  styleclip::ProgressMeter meter(run, "sweep", 10, "channels");
  for (int i = 0; i < 10; ++i) {
    meter.detail("loss", 10 - i);
    meter.step(1);
  }
  REQUIRE_FALSE(told.empty());
  CHECK(told.size() < 10);  // ten steps take less than the 50 ms between reports
  CHECK(told.back().done == 10);
  CHECK(told.back().unit == "channels");
  CHECK(told.back().seconds_left == 0);
  CHECK(told.back().detail == std::map<std::string, double>{{"loss", 1}});
  flag.set();
  CHECK_THROWS_AS(meter.step(1), styleclip::Aborted);
}

TEST_CASE("devices and versions") {
  CHECK(styleclip::torch_version().substr(0, 2) == "2.");
  CHECK(styleclip::torch_version() == styleclip::built_torch_version());
  CHECK(styleclip::available_devices().at(0) == "cpu");
  CHECK(styleclip::resolve_device("cpu") == "cpu");
  CHECK(styleclip::resolve_device("auto") == (styleclip::available_devices().size() > 1 ? "cuda:0" : "cpu"));
  CHECK(error_of([] { styleclip::resolve_device("cuda:4096"); }).code() == ErrorCode::Device);
  for (const char* name : {"", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:0 "}) {
    CHECK(error_of([&] { styleclip::resolve_device(name); }).code() == ErrorCode::Argument);
  }
  CHECK(error_of([] { styleclip::set_threads(-1); }).code() == ErrorCode::Range);
  std::thread([] {
    styleclip::prepare_thread();
    styleclip::set_threads(1);
    CHECK(styleclip::threads() == 1);
  }).join();
}
