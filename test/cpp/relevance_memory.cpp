// Memory of the sweep: what a process takes beside the loaded models stays within the bound, or within what the smallest
// batches are said to take, whatever the method and however many channels and pictures there are; and where memory runs out
// all the same, batches are halved and nothing else changes.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>
#include <malloc.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "relevance/working_memory.h"
#include "runtime/allocations.h"
#include "runtime/resident_memory.h"
#include "runtime/reused_memory.h"
#include "scarce.h"
#include "styleclip/relevance.h"
#include "tiny_world.h"

namespace {

using styleclip::RelevanceRows;
using styleclip::SweepOptions;
using tiny::statistics;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

RelevanceRows sweep_tiny(const std::string& method, const SweepOptions& options) {
  return styleclip::sweep(method, tiny::generator(), tiny::clip(), statistics(), options, {});
}

// What one process says of one sweep.
struct Growth {
  std::int64_t grown = -1, least = -1, batch = -1;
  std::int64_t bound(std::int64_t memory) const { return std::max(memory, least); }
};

// The case "a sweep in a process of its own" of this program.
Growth growth_of(const std::string& method, std::int64_t memory, std::int64_t images, std::int64_t channels) {
  std::array<char, 4096> self{};
  const ssize_t length = readlink("/proc/self/exe", self.data(), self.size() - 1);
  REQUIRE(length > 0);
  const std::string command = "STYLECLIP_TEST_SWEEP='" + method + " " + std::to_string(memory) + " " +
                              std::to_string(images) + " " + std::to_string(channels) + "' '" + self.data() +
                              "' --no-skip --test-case='a sweep in a process of its own'";
  FILE* const child = popen(command.c_str(), "r");
  REQUIRE(child != nullptr);
  Growth growth;
  std::string all;
  std::array<char, 512> line{};
  while (std::fgets(line.data(), line.size(), child) != nullptr) {
    all += line.data();
    std::istringstream words(line.data());
    std::string word;
    if (words >> word && word == "growth") words >> growth.grown >> growth.least >> growth.batch;
  }
  INFO(all);
  REQUIRE(pclose(child) == 0);
  REQUIRE(growth.grown > 0);
  MESSAGE(method << " memory " << memory / kMiB << " MiB, " << images << " pictures of " << channels
                 << " channels: grown by " << static_cast<double>(growth.grown) / kMiB << ", least "
                 << static_cast<double>(growth.least) / kMiB << " MiB, batch " << growth.batch);
  return growth;
}

}  // namespace

// Models in which a batch of the largest size takes a multiple of what libtorch takes for itself.
TEST_CASE("a sweep in a process of its own" * doctest::skip()) {
  const char* const words = std::getenv("STYLECLIP_TEST_SWEEP");
  if (words == nullptr) return;
  std::istringstream settings(words);
  std::string method;
  SweepOptions options;
  std::size_t channels = 0;
  settings >> method >> options.memory_bytes >> options.images >> channels;
  at::set_num_threads(2);
  std::shared_ptr<styleclip::Generator> generator;
  std::shared_ptr<styleclip::Clip> clip;
  {
    const tiny::TemporaryFile one(tiny::archive("stylegan2",
                                                R"({"image_size": 32, "channels": [96, 96, 64, 48], "z_width": 32,
                                                    "style_width": 32, "mapping_layers": 2, "mapping_lr_multiplier": 1})",
                                                nullptr));
    const tiny::TemporaryFile two(tiny::archive(
        "clip", R"({"vision": "vit", "image_size": 64, "embedding": 64, "vision_width": 192, "vision_layers": [2],
                    "vision_heads": 6, "patch": 4, "text_width": 32, "text_layers": 1, "text_heads": 4, "context_length": 9,
                    "vocabulary": 50})",
        nullptr));
    styleclip::LoadOptions load;
    load.device = "cpu";
    generator = styleclip::Generator::load(one.path(), load);
    clip = styleclip::Clip::load(two.path(), load);
  }
  styleclip::StyleStatistics moments;
  moments.mean = at::zeros({generator->layout().total()});
  moments.sigma = at::ones({generator->layout().total()});
  moments.samples = 2;
  const std::vector<std::int64_t> all = generator->layout().select(options.layers);
  REQUIRE(channels <= all.size());
  for (std::size_t i = 0; i < channels; ++i) options.channels.push_back(all[i * all.size() / channels]);

  malloc_trim(0);
  const std::int64_t before = styleclip::start_peak();
  REQUIRE(before > 0);
  REQUIRE(styleclip::peak_bytes() < before + 4 * kMiB);  // it starts anew
  RelevanceRows rows;
  if (method == "screened") {
    styleclip::ScreenOptions screen;
    screen.text = at::ones({clip->embedding_dim()});
    screen.channels = static_cast<std::int64_t>(channels) / 8;
    rows = styleclip::sweep_screened(*generator, *clip, moments, options, screen, {}).rows;
  } else {
    if (method == "stop-at") options.stop_at = 16;
    rows = styleclip::sweep(method, *generator, *clip, moments, options, {});
  }
  std::printf("growth %lld %lld %lld\n", static_cast<long long>(styleclip::peak_bytes() - before),
              static_cast<long long>(rows.least_bytes), static_cast<long long>(rows.batch));
  std::fflush(stdout);
}

TEST_CASE("the sweep's memory stays within the setting, or within what the smallest batches take") {
  std::int64_t smallest = 0, largest = 0;
  for (const std::int64_t memory : {1, 96, 320}) {
    const Growth growth = growth_of("exact", memory * kMiB, 2, 64);
    CHECK(growth.grown <= growth.bound(memory * kMiB));
    if (memory == 1) {
      CHECK(growth.batch == 2);
      CHECK(growth.least > kMiB);
      smallest = growth.grown;
    }
    largest = growth.grown;
  }
  CHECK(largest > smallest + 32 * kMiB);  // the setting is what bounds it: with more, more is taken
}

TEST_CASE("the sweep's memory does not grow with channels and pictures, but by its tables") {
  // A canvas of the process's CLIP, and the least that a picture's base leaves: the linear parts of its layers, in
  // float32.
  constexpr std::int64_t kCanvas = 3 * 64 * 64 * 4;
  constexpr std::int64_t kBase = (96 * 4 * 4 + 2 * 96 * 8 * 8 + 2 * 64 * 16 * 16 + 2 * 48 * 32 * 32) * 4;
  for (const std::int64_t memory : {1, 96}) {
    const Growth few = growth_of("exact", memory * kMiB, 2, 32);
    for (const auto& [images, channels] : {std::pair<std::int64_t, std::int64_t>{10, 32}, {2, 192}}) {
      const Growth many = growth_of("exact", memory * kMiB, images, channels);
      CHECK(many.batch == few.batch);
      CHECK(many.grown <= many.bound(memory * kMiB));
      CHECK(many.least < 96 * kMiB);
      // The smallest batches take the same but for the tables.
      const std::int64_t tables = many.least - few.least;
      CHECK(tables > 0);
      CHECK(tables < kMiB);
      // Were anything kept of a channel or of a picture, it would be a canvas each, or a base: half of that would show.
      const std::int64_t kept = images > 2 ? (images - 2) * kBase : (channels - 32) * kCanvas;
      REQUIRE(kept > 4 * kMiB);
      CHECK(many.grown - few.grown <= tables + kept / 2);
    }
  }
}

TEST_CASE("every method keeps to its memory") {
  for (const std::string method : {"reference", "gradient", "stop-at", "adaptive", "screened"}) {
    constexpr std::int64_t kMemory = 128 * kMiB;
    const Growth growth = growth_of(method, kMemory, method == "adaptive" ? 12 : 2, 32);
    CHECK(growth.grown <= growth.bound(kMemory));
  }
}

TEST_CASE("a batch that memory does not hold is halved, said, and gives what the smaller one gives") {
  scarcity::Scarce& scarce = scarcity::Scarce::installed();
  const int threads = at::get_num_threads();
  for (const std::string method : {"exact", "stop-at", "adaptive", "reference", "gradient"}) {
    for (const int crew : {1, 3}) {
      CAPTURE(method);
      CAPTURE(crew);
      at::set_num_threads(crew);
      SweepOptions options;
      options.layers = {"conv"};
      // Whose batches are of pictures, not of channels; a forward of 3 threads each takes 8.
      options.images = method == "gradient" ? 24 : method == "adaptive" ? 11 : 1;
      options.batch = 4;
      statistics();
      scarce.forget();
      scarce.noting = true;
      const RelevanceRows wanted = sweep_tiny(method, options);
      scarce.noting = false;
      CHECK(wanted.batch == 4);
      scarce.refused = 0;
      scarce.refusing = true;
      options.batch = 8;
      const RelevanceRows got = sweep_tiny(method, options), again = sweep_tiny(method, options);
      scarce.refusing = false;
      CHECK(scarce.refused > 0);
      CHECK(got.batch == 4);
      CHECK(got.images == wanted.images);
      CHECK(at::equal(got.counts, wanted.counts));
      CHECK(at::equal(got.rows, wanted.rows));
      CHECK(at::equal(got.magnitude, wanted.magnitude));
      CHECK(at::equal(got.rows, again.rows));

      options.batch = 0;  // a single pair that does not fit ends the sweep
      scarce.forget();
      scarce.refusing = true;
      const auto sweep = [&] {
        try {
          sweep_tiny(method, options);
        } catch (...) {
          styleclip::rethrow_translated("sweep");
        }
      };
      CHECK(tiny::error_of(sweep).code() == styleclip::ErrorCode::OutOfMemory);
      scarce.refusing = false;
    }
  }
  at::set_num_threads(threads);
}

TEST_CASE("a pool holds no more than it may, beside what is in use") {
  styleclip::MemoryPool pool(4 * kMiB);
  const auto block = [](std::int64_t bytes) { return at::empty({bytes}, at::kByte); };
  {
    const styleclip::UseMemoryPool use(pool);
    block(kMiB);
    CHECK(pool.kept_bytes() == kMiB);
    const void* const first = block(kMiB).const_data_ptr();
    CHECK(first == block(kMiB).const_data_ptr());  // the same memory again
    const at::Tensor large = block(7 * kMiB / 2);
    CHECK(pool.kept_bytes() == 0);  // there is no room for both
    block(kMiB);
    CHECK(pool.kept_bytes() == 0);
    CHECK(pool.peak_bytes() == 9 * kMiB / 2);
  }
  CHECK(pool.kept_bytes() == 7 * kMiB / 2);
  pool.set_most(kMiB);
  pool.trim();
  CHECK(pool.kept_bytes() == 0);
}

TEST_CASE("the batch for a bound, and what is measured of a picture") {
  const auto bytes = [](std::int64_t pictures) { return 100 + 10 * pictures; };
  CHECK(styleclip::batch_within(145, 2, 33, bytes) == 4);
  CHECK(styleclip::batch_within(1000, 2, 33, bytes) == 32);
  CHECK(styleclip::batch_within(10, 2, 33, bytes) == 2);
  CHECK(styleclip::batch_within(10, 2, 1, bytes) == 2);
  const styleclip::PictureBytes found = styleclip::measure_pictures("cpu", 2, [](std::int64_t pictures) {
    const at::Tensor shared = at::empty({1 << 20}, at::kByte), own = at::empty({pictures, 1 << 12}, at::kByte);
    at::empty({pictures, 1 << 10}, at::kByte);
    at::empty({pictures, 1 << 11}, at::kByte);
  });
  CHECK(found.picture == (4096 + 2048) * 9 / 8);
  CHECK(found.fixed == (1 << 20) * 9 / 8);
}
