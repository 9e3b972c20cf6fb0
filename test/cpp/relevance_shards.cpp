// A sweep in shards: whatever happens on the way, the files and the merged table are the same bits.
#include <sys/resource.h>

#include <exception>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "clip_forwards.h"
#include "relevance/shards/shard_file.h"
#include "scarce.h"
#include "shards_fixture.h"
#include "styleclip/runtime.h"

namespace {

using namespace sharding;

void check_same(const RelevanceRows& a, const RelevanceRows& b) {
  CHECK(a.channels == b.channels);
  CHECK(at::equal(a.rows, b.rows));
  CHECK(at::equal(a.magnitude, b.magnitude));
  CHECK(at::equal(a.concentration, b.concentration));
  CHECK(at::equal(a.counts, b.counts));
  CHECK(a.images == b.images);
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
  CHECK(different(folder, finished()).empty());
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
  CHECK(different(folder, finished()).empty());
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
  CHECK(different(folder, finished()).empty());
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
  CHECK(different(folder, finished()).empty());
}

TEST_CASE("two at once in one empty directory: nothing is damaged") {
  const Folder folder;
  std::vector<std::string> failures(2);
  const auto work = [&](std::size_t i) {
    try {
      styleclip::prepare_thread();
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
  CHECK(different(folder, finished()).empty());
}

// Blocks of all rows of the convolutions and two pictures: three shards, of chunks of 4 channels and what is left of
// a layer.
struct Halving {
  static SweepOptions options(std::int64_t batch) {
    SweepOptions options = settings();
    options.layers = {"conv"};
    options.batch = batch;
    return options;
  }
  static std::unique_ptr<ShardedSweep> open(const Folder& folder, std::int64_t batch = 8) {
    return sharding::open({folder.path(), 1, 1, 0, 2}, options(batch));
  }
  // The next shard, with memory for what batches of 4 take and no more.
  static std::optional<SweepShard> next_in_need(ShardedSweep& sweep) {
    scarcity::Scarce& scarce = scarcity::Scarce::installed();
    scarce.refused = 0;
    scarce.refusing = true;
    std::optional<SweepShard> shard;
    try {
      shard = sweep.next({});
    } catch (const std::exception& error) {
      INFO(error.what());
      CHECK(false);
    }
    scarce.refusing = false;
    CHECK(scarce.refused > 0);
    return shard;
  }
};

TEST_CASE(
    "a shard whose batch memory did not hold: halved, recorded, kept when the sweep goes on, and its neighbours "
    "whole") {
  scarcity::Scarce& scarce = scarcity::Scarce::installed();
  const Folder small, whole, once, resumed;
  scarce.forget();
  scarce.noting = true;
  const std::vector<SweepShard> of_four = run_all(*Halving::open(small, 4));
  scarce.noting = false;
  REQUIRE(of_four.size() == 3);
  const std::vector<SweepShard> plain = run_all(*Halving::open(whole));
  REQUIRE(plain.size() == 3);

  const auto sweep = Halving::open(once);
  REQUIRE(sweep->next({}));
  const auto halved = Halving::next_in_need(*sweep);
  REQUIRE(halved);
  CHECK(halved->batch == 4);
  CHECK(halved->rendered == plain[1].rendered);
  const auto after = sweep->next({});
  REQUIRE(after);
  CHECK(after->batch == 8);  // each shard starts with the plan's

  {
    const auto first = Halving::open(resumed);
    REQUIRE(first->next({}));
    REQUIRE(Halving::next_in_need(*first));
  }
  const std::vector<SweepShard> rest = run_all(*Halving::open(resumed));
  REQUIRE(rest.size() == 3);
  for (std::size_t i = 0; i < rest.size(); ++i) {
    CHECK(rest[i].resumed == (i < 2));
    CHECK(rest[i].batch == (i == 1 ? 4 : 8));
  }
  CHECK(different(resumed, once).empty());

  auto files = resumed.files(), expected = whole.files();
  const std::string name = halved->id + ".safetensors";
  CHECK(files.at(name) != expected.at(name));  // it says so
  files.erase(name);
  expected.erase(name);
  CHECK(files == expected);
  // And it holds what a sweep of such batches has there.
  const auto plan = styleclip::shards::read_plan(resumed.path()), other = styleclip::shards::read_plan(small.path());
  REQUIRE(plan);
  REQUIRE(other);
  const auto got = styleclip::shards::read_shard(resumed.path(), *plan, 1);
  const auto wanted = styleclip::shards::read_shard(small.path(), *other, 1);
  CHECK(got.batch == 4);
  CHECK(at::equal(got.sums.sum, wanted.sums.sum));
  CHECK(at::equal(got.sums.magnitude, wanted.sums.magnitude));
  CHECK(at::equal(got.sums.count, wanted.sums.count));
  CHECK(styleclip::merge_sweep(resumed.path(), {}).rows.batch == 4);
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

TEST_CASE("files hang on the plan alone, not on the memory that there is") {
  // Few channels, several pictures a shard, layers of fewer channels than a batch: much that could be done together.
  for (const std::string method : {"exact", "stop-at", "adaptive", "gradient", "reference"}) {
    for (const std::int64_t batch : {6, 64}) {
      CAPTURE(method);
      CAPTURE(batch);
      SweepOptions options = settings();
      options.stop_at = 8;
      options.batch = batch;
      std::vector<std::map<std::string, std::string>> files;
      std::vector<std::vector<std::int64_t>> forwards;
      for (const std::int64_t memory : {std::int64_t{1}, std::int64_t{1} << 40}) {
        options.memory_bytes = memory;
        const Folder folder;
        const clips::Forwards clip;
        run_all({folder.path(), 1, 1, 20, method == "adaptive" ? 0 : 2}, options, method);
        files.push_back(folder.files());
        forwards.push_back(clips::Forwards::sizes());
      }
      REQUIRE(files[0].size() >= 4);
      REQUIRE_FALSE(forwards[0].empty());
      // Sums of other batches may have other last bits, though these models' have the same.
      CHECK(forwards[0] == forwards[1]);
      CHECK(files[0] == files[1]);
    }
  }
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

}  // namespace
