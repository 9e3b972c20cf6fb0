// Directories of shards that are not what they should be: damaged, of another sweep, with other settings, incomplete, or
// with what a killed process left. Each is named and refused, or mended; nothing else is changed.
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>

#include "runtime/sha256.h"
#include "shards_fixture.h"

namespace {

using namespace sharding;

TEST_CASE("a damaged shard: named and computed again on resuming, named and refused on merging") {
  const auto damage = [](const std::string& bytes, int how) {
    std::string changed = bytes;
    if (how == 0) changed.resize(bytes.size() / 2);
    if (how == 1) changed[bytes.size() - 5] ^= 1;               // a count
    if (how == 2) changed[bytes.find("\"rows\":\"") + 8] ^= 1;  // what it says of itself
    if (how == 3) changed.clear();
    if (how == 4) changed[bytes.find("\"checksum\":\"") + 12] ^= 1;  // the checksum
    if (how == 5) changed += "more";
    if (how == 6) changed = "no shard at all";
    return changed;
  };
  for (int how = 0; how < 7; ++how) {
    CAPTURE(how);
    const Folder folder;
    copy_into(finished(), folder);
    const std::string name = std::next(folder.files().begin(), 3)->first;  // after plan.json
    const std::string file = (fs::path(folder.path()) / name).string();
    Folder::write(file, damage(Folder::read(file), how));
    const Error error = tiny::error_of([&] { (void)styleclip::merge_sweep(folder.path(), {}); });
    CHECK(error.code() == ErrorCode::FileDamaged);
    CHECK(names(error, name));
    std::int64_t again = 0;
    for (const SweepShard& shard : run_all(in(folder))) {
      CHECK(shard.resumed == shard.warning.empty());
      if (shard.resumed) continue;
      ++again;
      CHECK(shard.file == file);
      CHECK(shard.warning.find(name) != std::string::npos);
    }
    CHECK(again == 1);
    CHECK(different(folder, finished()).empty());
  }
}

TEST_CASE("a shard of another sweep, under its own name or under one of the plan's, and two that changed places") {
  const Folder other;
  SweepOptions changed = settings();
  changed.samples.seed = 7;
  run_all(in(other), changed);
  const auto refused = [](const Folder& folder, const std::string& name) {
    for (const auto& attempt : std::vector<std::function<void()>>{
             [&] { (void)styleclip::merge_sweep(folder.path(), {}); }, [&] { (void)run_all(in(folder)); }}) {
      const Error error = tiny::error_of(attempt);
      CHECK(error.code() == ErrorCode::ResumeMismatch);
      CHECK(names(error, name));
    }
  };
  const auto files = other.files();
  const std::string foreign = std::next(files.begin())->first;
  const std::string own = std::next(finished().files().begin())->first;
  {
    const Folder folder;
    copy_into(finished(), folder);
    Folder::write((fs::path(folder.path()) / foreign).string(), files.at(foreign));
    refused(folder, foreign);
  }
  {
    const Folder folder;
    copy_into(finished(), folder);
    Folder::write((fs::path(folder.path()) / own).string(), files.at(foreign));
    refused(folder, own);
  }
  {
    const Folder folder;
    copy_into(finished(), folder);
    const auto mine = folder.files();
    const auto second = *std::next(mine.begin(), 2);
    Folder::write((fs::path(folder.path()) / own).string(), second.second);
    Folder::write((fs::path(folder.path()) / second.first).string(), mine.at(own));
    refused(folder, own);
  }
}

TEST_CASE("other settings are refused by name, before anything is computed or changed") {
  const auto refused = [](const std::string& name, const std::function<void(SweepOptions&, ShardOptions&)>& change,
                          const StyleStatistics& with = statistics(), const std::string& method = "exact") {
    CAPTURE(name);
    SweepOptions options = settings();
    ShardOptions shards = in(finished());
    change(options, shards);
    const Error error = tiny::error_of(
        [&] { (void)ShardedSweep::open(method, tiny::generator(), tiny::clip(), with, options, shards, {}); });
    CHECK(error.code() == ErrorCode::ResumeMismatch);
    CHECK(names(error, name));
    CHECK(names(error, finished().path()));
  };
  const auto before = finished().files();
  refused("images is 5 there and 6 here", [](auto& o, auto&) { o.images = 6; });
  refused("sigmas is 3.0 there and 3.5 here", [](auto& o, auto&) { o.sigmas = 3.5; });
  refused("perturb", [](auto& o, auto&) { o.perturbation = styleclip::Perturbation::Relative; });
  refused("layers", [](auto& o, auto&) { o.layers = {"conv"}; });
  refused("seed is \"0\" there and \"18446744073709551615\" here", [](auto& o, auto&) { o.samples.seed = ~0ULL; });
  refused("truncation_psi", [](auto& o, auto&) { o.samples.truncation_psi = 0.5; });
  refused("truncation_cutoff", [](auto& o, auto&) { o.samples.truncation_cutoff = 2; });
  refused("preprocess", [](auto& o, auto&) { o.preprocess = styleclip::Preprocess::Reference8; });
  refused("noise", [](auto& o, auto&) { o.noise = styleclip::NoiseMode::None; });
  refused("batch is 6 there and 8 here", [](auto& o, auto&) { o.batch = 8; });
  refused("shard_channels is 20 there and 10 here", [](auto&, auto& s) { s.rows = 10; });
  refused("shard_images is 2 there and 5 here", [](auto&, auto& s) { s.pictures = 9; });
  refused("method", [](auto&, auto&) {}, statistics(), "reference");
  StyleStatistics others = statistics();
  others.sigma = others.sigma * 1.0001;
  refused("statistics_sha256", [](auto&, auto&) {}, others);
  others = statistics();
  others.samples = 501;
  refused("statistics_samples", [](auto&, auto&) {}, others);
  // Several at once are all named.
  refused("images", [](auto& o, auto&) { o.images = 6, o.sigmas = 4; });
  refused("sigmas", [](auto& o, auto&) { o.images = 6, o.sigmas = 4; });

  tiny::Weights weights = tiny::generator_weights();
  weights["conv1.conv.weight"] = weights["conv1.conv.weight"] * 1.01;
  const auto generator = tiny::load_generator(weights);
  const Error error = tiny::error_of([&] {
    (void)ShardedSweep::open("exact", *generator, tiny::clip(), statistics(), settings(), in(finished()), {});
  });
  CHECK(error.code() == ErrorCode::ResumeMismatch);
  CHECK(names(error, "generator_sha256"));
  CHECK(finished().files() == before);

  // What does not change a number, or was left to the plan, is no difference.
  SweepOptions same = settings();
  same.batch = 0;
  same.memory_bytes = 1 << 28;
  CHECK(run_all({finished().path(), 1, 1, 0, 0}, same).size() == kShards);
  CHECK(finished().files() == before);
}

TEST_CASE("a plan that is damaged, newer, or none") {
  const auto code_with = [](const std::function<std::string(std::string)>& change) {
    const Folder folder;
    copy_into(finished(), folder);
    const std::string file = (fs::path(folder.path()) / "plan.json").string();
    Folder::write(file, change(Folder::read(file)));
    const Error error = tiny::error_of([&] { (void)open(in(folder)); });
    CHECK(names(error, "plan.json"));
    CHECK(tiny::error_of([&] { (void)styleclip::merge_sweep(folder.path(), {}); }).code() == error.code());
    return error.code();
  };
  const auto replaced = [](const std::string& from, const std::string& to) {
    return [=](std::string text) { return text.replace(text.find(from), from.size(), to); };
  };
  CHECK(code_with([](std::string text) { return text.substr(0, text.size() / 2); }) == ErrorCode::FileDamaged);
  CHECK(code_with([](const std::string&) { return std::string(); }) == ErrorCode::FileDamaged);
  CHECK(code_with([](const std::string&) { return std::string("{}"); }) == ErrorCode::FileDamaged);
  CHECK(code_with([](const std::string&) { return std::string("[1, 2"); }) == ErrorCode::FileDamaged);
  CHECK(code_with(replaced("\"images\": 5", "\"images\": 6")) == ErrorCode::FileDamaged);
  CHECK(code_with(replaced("\"version\": 1", "\"version\": 2")) == ErrorCode::FormatVersion);
  // A valid checksum over nonsense.
  CHECK(code_with([](const std::string&) {
          nlohmann::ordered_json json = {{"format", "styleclip.sweep-plan"}, {"version", 1}, {"settings", 3}};
          json["sha256"] = styleclip::sha256_hex(json.dump());
          return json.dump();
        }) == ErrorCode::FileDamaged);
}

TEST_CASE("no directory, no plan, missing shards, shares that cannot be") {
  const Folder folder;
  CHECK(tiny::error_of([&] { (void)styleclip::merge_sweep(folder.path(), {}); }).code() == ErrorCode::FileNotFound);
  CHECK_FALSE(styleclip::read_sweep_plan(folder.path()));
  run_all(in(folder, 2, 3));
  const Error missing = tiny::error_of([&] { (void)styleclip::merge_sweep(folder.path(), {}); });
  CHECK(missing.code() == ErrorCode::FileNotFound);
  CHECK(names(missing, "6 of the 9 shards"));
  CHECK(styleclip::read_sweep_plan(folder.path())->present == 3);
  for (const auto& [part, parts] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 3}, {4, 3}, {-1, 1}, {1, 0}}) {
    CHECK(tiny::error_of([&, part = part, parts = parts] { (void)open(in(folder, part, parts)); }).code() ==
          ErrorCode::Range);
  }
  const tiny::TemporaryFile file("a file");
  CHECK(tiny::error_of([&] { (void)open({file.path(), 1, 1, 0, 0}); }).code() == ErrorCode::Disk);
  CHECK(tiny::error_of([&] { (void)open({"", 1, 1, 0, 0}); }).code() == ErrorCode::Disk);
  SweepOptions none = settings();
  none.images = 0;
  const Folder empty;
  CHECK(tiny::error_of([&] { (void)open(in(empty), none); }).code() == ErrorCode::Range);
  none = settings();
  none.layers = {"b64.conv0"};
  CHECK(tiny::error_of([&] { (void)open(in(empty), none); }).code() == ErrorCode::Argument);
  CHECK(tiny::error_of([&] { (void)open(in(empty), settings(), "magic"); }).code() == ErrorCode::Argument);
  CHECK(empty.files().empty());
}

TEST_CASE("temporary files of a killed process go after an hour; a younger one may be another process's") {
  const Folder folder;
  copy_into(finished(), folder);
  const auto place = [&](const std::string& name) { return (fs::path(folder.path()) / name).string(); };
  const std::string old_one = place("shard-00001-0123456789abcdef.safetensors.tmp-1-0");
  const std::string young = place("shard-00002-0123456789abcdef.safetensors.tmp-1-1");
  const std::string others = place("notes.tmp-1");
  for (const std::string& file : {old_one, young, others}) Folder::write(file, "half a shard");
  const auto before = fs::file_time_type::clock::now() - std::chrono::hours(2);
  for (const std::string& file : {old_one, others}) fs::last_write_time(file, before);
  CHECK(run_all(in(folder)).size() == kShards);
  CHECK_FALSE(fs::exists(old_one));
  CHECK(fs::exists(young));
  CHECK(fs::exists(others));
}

}  // namespace
