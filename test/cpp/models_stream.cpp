// Archives written straight into files: the same bytes as in memory, weights that fit taken as they are, and nothing left
// behind by whatever goes wrong on the way.
#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

#include "models_fixture.h"
#include "runtime/sha256.h"

using namespace fixture;
using styleclip::ErrorCode;

namespace {

/// A folder that is gone with the object.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "styleclip-stream-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::filesystem::path path_;
};

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

styleclip::MakeRequest request_of(const Weights& weights) {
  styleclip::MakeRequest request;
  request.kind = "stylegan2";
  request.config_json = tiny::kGeneratorConfig;
  request.weights = &weights;
  return request;
}

}  // namespace

TEST_CASE("an archive written into a file is the one made in memory, byte for byte") {
  const Weights weights = tiny::generator_weights();
  styleclip::MakeRequest request = request_of(weights);
  request.source_format = "rosinality";
  const Folder folder;
  std::set<std::string> phases;
  styleclip::RunContext run;
  run.progress = [&phases](const styleclip::Progress& progress) { phases.insert(progress.phase); };
  const styleclip::WrittenArchive written = styleclip::write_archive(request, folder.file("a.pt"), run);
  const styleclip::MadeArchive made = styleclip::make_archive(request, {});
  CHECK(bytes_of(folder.file("a.pt")) == made.bytes);
  CHECK(written.sha256 == styleclip::sha256_hex(made.bytes));
  CHECK(written.bytes == static_cast<std::int64_t>(made.bytes.size()));
  CHECK(written.parameters == made.parameters);
  CHECK(written.description_json == made.description_json);
  CHECK(nlohmann::json::parse(written.description_json)["source"]["format"] == "rosinality");
  CHECK(phases.contains("weights"));
  CHECK(phases.contains("write"));
  CHECK(folder.files() == 1);
}

TEST_CASE("weights in any layout: the same archive, and each told of when it was read") {
  const Weights plain = tiny::generator_weights();
  Weights odd;
  for (const auto& [name, tensor] : plain) {
    // Every second element of something larger, and the dimensions in another order in memory.
    const at::Tensor wide = at::stack({tensor, tensor + 1}, -1);
    odd[name] = tensor.dim() > 1 ? tensor.transpose(0, 1).contiguous().transpose(0, 1) : wide.select(-1, 0);
    if (name == "convs.0.conv.weight") odd[name] = tensor.to(at::kDouble);
  }
  const Folder folder;
  styleclip::MakeRequest request = request_of(odd);
  std::size_t released = 0;
  request.release = [&released](const void*, std::size_t bytes) { released += bytes; };
  styleclip::write_archive(request, folder.file("odd.pt"), {});
  std::size_t held = 0;
  for (const auto& [name, tensor] : plain) held += tensor.nbytes();
  CHECK(released >= held);
  request.weights = &plain;
  const Weights from_odd = styleclip::Generator::load(folder.file("odd.pt"), cpu())->tensors();
  for (const auto& [name, tensor] : plain) {
    CAPTURE(name);
    CHECK(at::equal(from_odd.at(name), tensor));
  }
}

TEST_CASE("storage 'source' keeps each tensor's own float type; what cannot be held is named") {
  Weights weights = tiny::generator_weights();
  weights.at("conv1.conv.weight") = weights.at("conv1.conv.weight").to(at::kHalf);
  weights.at("to_rgb1.conv.weight") = weights.at("to_rgb1.conv.weight").to(at::kBFloat16);
  weights.at("input.input") = weights.at("input.input").to(at::kDouble);
  const Folder folder;
  styleclip::MakeRequest request = request_of(weights);
  request.storage_dtype = "source";
  const styleclip::WrittenArchive written = styleclip::write_archive(request, folder.file("kept.pt"), {});
  CHECK(nlohmann::json::parse(written.description_json)["dtype"] == "float32");  // most of the numbers
  const Weights back = styleclip::Generator::load(folder.file("kept.pt"), cpu())->tensors();
  for (const char* name : {"conv1.conv.weight", "to_rgb1.conv.weight", "input.input"}) {
    CHECK(at::equal(back.at(name), weights.at(name).to(at::kFloat)));
  }
  // Two bytes a number fewer than in float32, but for the zip's padding to 64 bytes.
  request.storage_dtype = "float32";
  const std::int64_t single = styleclip::write_archive(request, folder.file("single.pt"), {}).bytes;
  const std::int64_t halves = weights.at("conv1.conv.weight").numel() + weights.at("to_rgb1.conv.weight").numel();
  CHECK(std::abs(single - written.bytes - 2 * halves) <= 2 * 64);

  weights.at("conv1.conv.weight") = weights.at("conv1.conv.weight").to(at::kFloat).mul(1e8);
  request.storage_dtype = "float16";
  const styleclip::Error large = error_of([&] { styleclip::write_archive(request, folder.file("large.pt"), {}); });
  CHECK(large.code() == ErrorCode::NotFinite);
  CHECK(std::string(large.what()).find("'conv1.conv.weight' holds numbers too large for") != std::string::npos);
  weights.at("conv1.conv.weight").view(-1)[3] = std::numeric_limits<float>::quiet_NaN();
  request.storage_dtype = "float32";
  const styleclip::Error nan = error_of([&] { styleclip::write_archive(request, folder.file("nan.pt"), {}); });
  CHECK(nan.code() == ErrorCode::NotFinite);
  CHECK(std::string(nan.what()).find("NaN or infinity") != std::string::npos);
  CHECK(folder.files() == 2);
}

TEST_CASE("stopped while it is written: nothing is left") {
  const Weights weights = tiny::generator_weights();
  const Folder folder;
  styleclip::CancelFlag cancel;
  styleclip::RunContext run;
  run.cancel = &cancel;
  bool read = false;
  run.progress = [&](const styleclip::Progress& progress) {
    read = read || (progress.phase == "weights" && progress.done == progress.total);
  };
  styleclip::MakeRequest request = request_of(weights);
  std::size_t unfinished = 0;
  request.release = [&](const void*, std::size_t) {
    if (!read) return;
    unfinished = folder.files();  // a piece is in the temporary file
    cancel.set();
  };
  CHECK_THROWS_AS(styleclip::write_archive(request, folder.file("a.pt"), run), styleclip::Aborted);
  CHECK(unfinished == 1);
  CHECK(folder.files() == 0);
}

TEST_CASE("a file-size limit in the middle of an archive: DISK, nothing left, and the process lives") {
  const Weights weights = tiny::generator_weights();
  const Folder folder;
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  // Only the soft limit, which may be raised again. The serialiser would end the process on a write that fails.
  const rlimit limit{16384, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const styleclip::Error full =
      error_of([&] { styleclip::write_archive(request_of(weights), folder.file("a.pt"), {}); });
  setrlimit(RLIMIT_FSIZE, &before);
  CHECK(full.code() == ErrorCode::Disk);
  CHECK(folder.files() == 0);
  const styleclip::Error nowhere =
      error_of([&] { styleclip::write_archive(request_of(weights), folder.file("no/such/folder.pt"), {}); });
  CHECK(nowhere.code() == ErrorCode::Disk);
}
