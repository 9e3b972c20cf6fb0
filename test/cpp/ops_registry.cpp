// Registration of the operators: idempotent, from many threads at once, refused to a second copy of the package with an
// error that names both; the choice between implementations; libraries that cannot be opened.
#include <ATen/ATen.h>
#include <dlfcn.h>
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "ops/registry.h"
#include "refusals.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace {

using refusals::error_of;
using styleclip::Error;
using styleclip::ErrorCode;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_CASE("registration may be asked for again and from many threads") {
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      try {
        styleclip::register_ops();
      } catch (...) {
        ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  CHECK(c10::Dispatcher::singleton().findSchema({"styleclip::accumulate_directions", ""}).has_value());
}

TEST_CASE("a second copy in the process gets ALREADY_LOADED, which names both, as often as it tries") {
  styleclip::register_ops();
  const auto directory = std::filesystem::path(styleclip::own_library_path()).parent_path();
  const std::string path = (directory / "styleclip_second_copy.so").string();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE_MESSAGE(library != nullptr, dlerror());
  const auto attempt = reinterpret_cast<int (*)()>(dlsym(library, "styleclip_second_copy_register"));
  const auto message = reinterpret_cast<const char* (*)()>(dlsym(library, "styleclip_second_copy_message"));
  REQUIRE((attempt != nullptr && message != nullptr));
  for (int i = 0; i < 2; ++i) {
    CHECK(attempt() == static_cast<int>(ErrorCode::AlreadyLoaded));
    CHECK(contains(message(), styleclip::own_library_path()));
    CHECK(contains(message(), path));
  }
  CHECK(styleclip::implementations("accumulate_directions").size() >= 2);  // ours still work
}

TEST_CASE("implementations can be listed and forced, and what is not there is refused") {
  const auto names = styleclip::implementations("accumulate_directions");
  CHECK(std::find(names.begin(), names.end(), "reference") != names.end());
  CHECK(std::find(names.begin(), names.end(), "cpu") != names.end());
  CHECK(error_of([] { (void)styleclip::implementations("no_such_op"); }).code() == ErrorCode::Argument);
  CHECK(error_of([] { styleclip::force_implementation("accumulate_directions", "quantum"); }).code() ==
        ErrorCode::Argument);
  CHECK(error_of([] { styleclip::force_implementation("no_such_op", "cpu"); }).code() == ErrorCode::Argument);
}

TEST_CASE("a forced implementation is the one that runs") {
  CHECK_FALSE(styleclip::use_reference("accumulate_directions", at::kCPU));
  styleclip::force_implementation("accumulate_directions", "reference");
  CHECK(styleclip::use_reference("accumulate_directions", at::kCPU));
  styleclip::force_implementation("accumulate_directions", "cpu");
  CHECK_FALSE(styleclip::use_reference("accumulate_directions", at::kCPU));
  CHECK(error_of([] { (void)styleclip::use_reference("accumulate_directions", c10::Device(at::kCUDA, 0)); }).code() ==
        ErrorCode::Argument);
  styleclip::force_implementation("accumulate_directions", "");
}

TEST_CASE("a CUDA library that cannot be opened is a DEVICE error that names what is missing") {
  CHECK(error_of([] { styleclip::load_cuda_library(""); }).code() == ErrorCode::Device);
  CHECK(error_of([] { styleclip::load_cuda_library("styleclip_cuda.so"); }).code() == ErrorCode::Device);
  const Error error = error_of([] { styleclip::load_cuda_library("/nowhere/styleclip_cuda.so"); });
  CHECK(error.code() == ErrorCode::Device);
  // On a libtorch without a CUDA half that is missing first.
  CHECK((contains(error.what(), "libtorch_cuda.so") || contains(error.what(), "/nowhere/styleclip_cuda.so")));
}

}  // namespace
