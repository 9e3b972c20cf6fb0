// A sweep in shards: whatever happens on the way, the files and the merged table are the same bits.
#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "relevance/shards/shard_file.h"
#include "runtime/sha256.h"
#include "styleclip/shards.h"
#include "tiny_world.h"

namespace {

namespace fs = std::filesystem;
using styleclip::Error;
using styleclip::ErrorCode;
using styleclip::MergedSweep;
using styleclip::RelevanceRows;
using styleclip::ShardedSweep;
using styleclip::ShardOptions;
using styleclip::StyleStatistics;
using styleclip::SweepOptions;
using styleclip::SweepShard;

/// A directory that is gone with the object.
class Folder {
 public:
  Folder() {
    static int number = 0;
    path_ =
        fs::temp_directory_path() / ("styleclip-shards-" + std::to_string(getpid()) + "-" + std::to_string(number++));
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path() const { return path_.string(); }
  /// Name -> bytes.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::directory_iterator(path_)) {
      found[entry.path().filename().string()] = read(entry.path().string());
    }
    return found;
  }
  static std::string read(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write(const std::string& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  }

 private:
  fs::path path_;
};

const StyleStatistics& statistics() {
  static const StyleStatistics made = styleclip::style_statistics(tiny::generator(), 500, {}, {});
  return made;
}

SweepOptions settings() {
  SweepOptions options;
  options.images = 5;
  options.sigmas = 3;
  options.layers = {"all"};
  options.batch = 6;
  return options;
}

/// Blocks of 20 of the 41 rows and 2 of the 5 pictures: 3 x 3 shards, small ones at both ends.
ShardOptions in(const Folder& folder, std::int64_t part = 1, std::int64_t parts = 1) {
  return {folder.path(), part, parts, 20, 2};
}
constexpr std::int64_t kShards = 9;

std::unique_ptr<ShardedSweep> open(const ShardOptions& shards, const SweepOptions& options = settings(),
                                   const std::string& method = "exact") {
  return ShardedSweep::open(method, tiny::generator(), tiny::clip(), statistics(), options, shards, {});
}

std::vector<SweepShard> run_all(ShardedSweep& sweep, const styleclip::RunContext& run = {}) {
  std::vector<SweepShard> shards;
  while (auto shard = sweep.next(run)) shards.push_back(*shard);
  return shards;
}

std::vector<SweepShard> run_all(const ShardOptions& shards, const SweepOptions& options = settings(),
                                const std::string& method = "exact") {
  return run_all(*open(shards, options, method));
}

/// The directory of a sweep in one go, whose files all others have to be.
const Folder& finished() {
  static const Folder folder;
  static const bool done = run_all(in(folder)).size() == kShards;
  CHECK(done);
  return folder;
}

void copy_into(const Folder& from, const Folder& to) { fs::copy(from.path(), to.path(), fs::copy_options::recursive); }

void check_same(const RelevanceRows& a, const RelevanceRows& b) {
  CHECK(a.channels == b.channels);
  CHECK(at::equal(a.rows, b.rows));
  CHECK(at::equal(a.magnitude, b.magnitude));
  CHECK(at::equal(a.concentration, b.concentration));
  CHECK(at::equal(a.counts, b.counts));
  CHECK(a.images == b.images);
}

bool names(const Error& error, const std::string& text) {
  return std::string(error.what()).find(text) != std::string::npos;
}

TEST_CASE("blocks cover every row of every picture once, and are found by their place") {
  styleclip::shards::Plan plan;
  plan.moving.resize(41);
  plan.images = 5;
  plan.block_rows = 20;
  plan.block_images = 2;
  REQUIRE(plan.shards() == kShards);
  std::vector<int> seen(41 * 5, 0);
  std::set<std::string> ids;
  for (std::int64_t index = 0; index < plan.shards(); ++index) {
    const styleclip::SweepBlock block = plan.block(index);
    CHECK(plan.index_of(block.first_row / 20, block.first_picture / 2) == index);
    for (std::int64_t r = 0; r < block.rows; ++r) {
      for (std::int64_t m = 0; m < block.pictures; ++m) {
        ++seen[static_cast<std::size_t>((block.first_row + r) * 5 + block.first_picture + m)];
      }
    }
    ids.insert(plan.id(index));
  }
  CHECK(seen == std::vector<int>(41 * 5, 1));
  CHECK(ids.size() == kShards);
  // Every third shard: with three blocks of rows, one of each.
  std::set<std::int64_t> rows;
  for (std::int64_t index = 0; index < kShards; index += 3) rows.insert(plan.block(index).first_row);
  CHECK(rows.size() == 3);
  plan.sha256 = "other";
  CHECK(ids.count(plan.id(0)) == 0);
}

TEST_CASE("blocks that nobody chose: ten pictures, all rows of a small model, 64 and more of a large one") {
  styleclip::shards::Plan plan;
  plan.moving.resize(6048);
  plan.images = 100;
  plan.layout = styleclip::StyleLayout::stylegan2(1024, {512, 512, 512, 512, 512, 256, 128, 64, 32});
  styleclip::shards::choose_blocks(plan, tiny::generator(), tiny::clip());
  CHECK(plan.block_images == 10);
  CHECK(plan.block_rows >= 63);
  CHECK(plan.block_rows <= 64);
  styleclip::shards::Plan small;
  small.moving.resize(41);
  small.images = 3;
  small.layout = tiny::generator().layout();
  styleclip::shards::choose_blocks(small, tiny::generator(), tiny::clip());
  CHECK(small.block_images == 3);
  CHECK(small.block_rows == 41);
}

TEST_CASE("merged shards are the sweep in one piece, but for the order of float64 sums") {
  for (const std::string method : {"reference", "exact"}) {
    CAPTURE(method);
    SweepOptions options = settings();
    options.batch = 1;  // so that both see the same batches of pictures
    const Folder folder;
    run_all(in(folder), options, method);
    const RelevanceRows merged = styleclip::merge_sweep(folder.path(), {}).rows;
    const RelevanceRows whole = styleclip::sweep(method, tiny::generator(), tiny::clip(), statistics(), options, {});
    CHECK(merged.channels == whole.channels);
    CHECK(at::equal(merged.counts, whole.counts));
    CHECK(merged.images == whole.images);
    CHECK(merged.implementation == whole.implementation);
    CHECK(merged.seconds == 0);
    const double rounding = std::ldexp(1.0, -23);
    CHECK((merged.rows - whole.rows).abs().max().item<double>() <= rounding);
    CHECK((merged.concentration - whole.concentration).abs().max().item<double>() <= rounding);
    CHECK(at::allclose(merged.magnitude, whole.magnitude, rounding, 0));
  }
}

TEST_CASE("a shard says what it is; files hold no time and no path") {
  const Folder folder;
  const std::vector<SweepShard> shards = run_all(in(folder));
  REQUIRE(shards.size() == kShards);
  std::set<std::int64_t> channels;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    CHECK(shards[i].file == (fs::path(folder.path()) / (shards[i].id + ".safetensors")).string());
    CHECK(fs::exists(shards[i].file));
    CHECK_FALSE(shards[i].resumed);
    CHECK(shards[i].warning.empty());
    CHECK(shards[i].batch == 6);
    CHECK(shards[i].rendered == 2 * shards[i].pictures * std::ssize(shards[i].channels));
    CHECK(shards[i].done == static_cast<std::int64_t>(i) + 1);
    CHECK(shards[i].total == kShards);
    channels.insert(shards[i].channels.begin(), shards[i].channels.end());
  }
  CHECK(channels.size() == 41);
  CHECK(folder.files() == finished().files());
  const auto planned = styleclip::read_sweep_plan(folder.path());
  REQUIRE(planned);
  CHECK(planned->shards == kShards);
  CHECK(planned->present == kShards);
  CHECK(at::equal(planned->statistics.mean, statistics().mean));
  CHECK(at::equal(planned->statistics.sigma, statistics().sigma));
  CHECK(planned->layout.total() == tiny::generator().layout().total());
  // Readable by any reader of the format.
  const auto tensors = styleclip::read_safetensors(shards[0].file);
  CHECK((tensors.at("sum").scalar_type() == at::kDouble));
  CHECK((tensors.at("count").scalar_type() == at::kLong));
}

TEST_CASE("shares in any order, each one its own process's: the same files, the same table") {
  const Folder folder;
  for (const std::int64_t part : {3, 1, 2}) {
    const auto sweep = open(in(folder, part, 3));
    CHECK(sweep->size() == 3);
    run_all(*sweep);
  }
  CHECK(folder.files() == finished().files());
  check_same(styleclip::merge_sweep(folder.path(), {}).rows, styleclip::merge_sweep(finished().path(), {}).rows);
  // More shares than shards: the last ones have nothing to do.
  CHECK(open(in(folder, 12, 12))->size() == 0);
  CHECK(run_all(in(folder, 12, 12)).empty());
}

TEST_CASE("stopped within a shard: whole shards stay, and going on gives the same files") {
  const Folder folder;
  {
    const auto sweep = open(in(folder));
    REQUIRE(sweep->next({}));
    styleclip::CancelFlag cancel;
    styleclip::RunContext run;
    run.cancel = &cancel;
    run.progress = [&](const styleclip::Progress&) { cancel.set(); };
    std::int64_t written = 1;
    CHECK_THROWS_AS(while (sweep->next(run))++ written, styleclip::Aborted);
    CHECK(folder.files().size() == static_cast<std::size_t>(written) + 1);  // and the plan
    // The same object goes on, too.
    const auto shard = sweep->next({});
    REQUIRE(shard);
    CHECK(shard->done == written + 1);
  }
  std::int64_t resumed = 0;
  for (const SweepShard& shard : run_all(in(folder))) resumed += shard.resumed;
  CHECK(resumed >= 2);
  CHECK(resumed < kShards);
  CHECK(folder.files() == finished().files());
}

TEST_CASE("a file-size limit, as a full disk: Disk, no partial file; then it goes on") {
  const Folder folder;
  const auto sweep = open(in(folder));
  REQUIRE(sweep->next({}));
  const auto before = folder.files();
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const rlimit low{1000, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &low);
  ErrorCode code = ErrorCode::Internal;
  try {
    (void)sweep->next({});
  } catch (const Error& error) {
    code = error.code();
  }
  setrlimit(RLIMIT_FSIZE, &old);
  CHECK(code == ErrorCode::Disk);
  CHECK(folder.files() == before);
  CHECK(run_all(*sweep).size() == kShards - 1);
  CHECK(folder.files() == finished().files());
}

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
    CHECK(folder.files() == finished().files());
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

TEST_CASE("two at once in one empty directory: nothing is damaged") {
  const Folder folder;
  std::vector<std::string> failures(2);
  const auto work = [&](std::size_t i) {
    try {
      const auto generator = tiny::load_generator(tiny::generator_weights());
      const tiny::TemporaryFile file(tiny::archive("clip", tiny::kClipConfig, nullptr));
      styleclip::LoadOptions options;
      options.device = "cpu";
      const auto clip = styleclip::Clip::load(file.path(), options);
      run_all(*ShardedSweep::open("exact", *generator, *clip, statistics(), settings(), in(folder), {}));
    } catch (const std::exception& error) {
      failures[i] = error.what();
    }
  };
  (void)statistics();
  std::thread first(work, 0), second(work, 1);
  first.join();
  second.join();
  CHECK(failures[0].empty());
  CHECK(failures[1].empty());
  CHECK(folder.files() == finished().files());
}

TEST_CASE("a batch that was halved is recorded, shard by shard") {
  const Folder folder;
  copy_into(finished(), folder);
  const auto plan = styleclip::shards::read_plan(folder.path());
  REQUIRE(plan);
  styleclip::shards::ShardSums shard = styleclip::shards::read_shard(folder.path(), *plan, 4);
  CHECK(shard.batch == 6);
  shard.batch = 3;
  styleclip::shards::write_shard(folder.path(), *plan, 4, shard);
  CHECK(styleclip::shards::read_shard(folder.path(), *plan, 4).batch == 3);
  const std::vector<SweepShard> shards = run_all(in(folder));
  for (std::size_t i = 0; i < shards.size(); ++i) {
    CHECK(shards[i].resumed);
    CHECK(shards[i].batch == (i == 4 ? 3 : 6));
  }
  CHECK(styleclip::merge_sweep(folder.path(), {}).rows.batch == 3);
}

TEST_CASE("machines of several kinds are told") {
  const Folder folder;
  copy_into(finished(), folder);
  CHECK(styleclip::merge_sweep(folder.path(), {}).machines ==
        std::vector<std::string>{styleclip::shards::this_machine("cpu")});
  const auto plan = styleclip::shards::read_plan(folder.path());
  styleclip::shards::ShardSums shard = styleclip::shards::read_shard(folder.path(), *plan, 0);
  shard.machine = "an abacus";
  styleclip::shards::write_shard(folder.path(), *plan, 0, shard);
  CHECK(styleclip::merge_sweep(folder.path(), {}).machines.size() == 2);
}

TEST_CASE("σ = 0 everywhere: no shards, and a table of zeros; one channel of σ = 0: not in any shard") {
  StyleStatistics still = statistics();
  still.sigma = at::zeros_like(still.sigma);
  const Folder folder;
  const auto open_with = [](const Folder& to, const StyleStatistics& with) {
    return ShardedSweep::open("exact", tiny::generator(), tiny::clip(), with, settings(), in(to), {});
  };
  CHECK(open_with(folder, still)->size() == 0);
  const RelevanceRows rows = styleclip::merge_sweep(folder.path(), {}).rows;
  CHECK(rows.channels.size() == 41);
  CHECK(rows.counts.sum().item<std::int64_t>() == 0);
  CHECK(rows.rows.abs().max().item<double>() == 0);
  still.sigma = statistics().sigma.clone();
  still.sigma[7] = 0;
  const Folder other;
  std::set<std::int64_t> channels;
  for (const SweepShard& shard : run_all(*open_with(other, still))) {
    channels.insert(shard.channels.begin(), shard.channels.end());
  }
  CHECK(channels.size() == 40);
  CHECK(channels.count(7) == 0);
  CHECK(styleclip::merge_sweep(other.path(), {}).rows.counts[7].item<std::int64_t>() == 0);
}

TEST_CASE("progress: pictures of the share, those on the disk counted and not timed") {
  const Folder folder;
  run_all(in(folder, 2, 3));
  const auto sweep = open(in(folder));
  std::vector<styleclip::Progress> reports;
  styleclip::RunContext run;
  run.progress = [&](const styleclip::Progress& progress) { reports.push_back(progress); };
  REQUIRE(sweep->next(run));
  REQUIRE_FALSE(reports.empty());
  const std::int64_t total = 2 * 41 * 5;
  CHECK(reports.front().total == total);
  CHECK(reports.front().done > 0);
  // After the first shard: itself, and three that are there.
  std::int64_t there = 0;
  const auto plan = styleclip::shards::read_plan(folder.path());
  for (const std::int64_t index : {0, 1, 4, 7}) there += 2 * plan->block(index).rows * plan->block(index).pictures;
  CHECK(reports.back().done == there);
  run_all(*sweep, run);
  CHECK(reports.back().done == total);
  CHECK(reports.back().seconds_left == 0);
  CHECK(reports.back().rate > 0);
  CHECK(reports.back().phase == "sweep");
  CHECK(reports.back().unit == "images");
  for (std::size_t i = 1; i < reports.size(); ++i) CHECK(reports[i].done >= reports[i - 1].done);

  reports.clear();
  run_all(*open(in(folder)), run);
  REQUIRE(reports.size() == kShards);
  for (const auto& report : reports) CHECK(report.done == total);
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
