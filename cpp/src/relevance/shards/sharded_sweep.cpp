// A share of a sweep, shard by shard; see styleclip/shards.h. An engine adds each block to sums of its own, which are
// written before the next one begins, so that whatever ends the process costs one shard of work.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>

#include "relevance/shards/shard_file.h"
#include "styleclip/error.h"

namespace styleclip {

using shards::Plan;
using Clock = std::chrono::steady_clock;

struct ShardedSweep::State {
  State(std::string method_name, Generator& g, Clip& c, SweepOptions o, ShardOptions s)
      : method(std::move(method_name)), generator(g), clip(c), options(std::move(o)), share(std::move(s)) {}

  const std::string method;
  Generator& generator;
  Clip& clip;
  SweepOptions options;
  const ShardOptions share;
  StyleStatistics statistics;
  SweepInputs inputs;
  Plan plan;
  RunContext run;  // of the call that is under way: the engine holds a reference
  std::unique_ptr<SweepEngine> engine;

  std::vector<std::int64_t> mine;              // numbers of this share's shards
  std::vector<std::int64_t> work;              // pictures of each
  std::vector<bool> done;                      // those on the disk
  std::size_t next = 0;                        // in `mine`
  std::string note;                            // for the first shard that is computed
  std::int64_t total_work = 0, done_work = 0;  // pictures of this share
  std::int64_t rendered = 0;                   // pictures of this process
  double seconds = 0;                          // that they took

  void make_engine_anew() {
    engine.reset();  // its memory, before the next one asks for some
    engine = make_engine(method, {generator, clip, inputs, options, run, /*planned=*/true});
  }
  void settle_plan();
  void read_directory();
  void report(const RunContext& to, std::int64_t extra, double extra_seconds) const;
  bool is_there(std::int64_t index, SweepShard& shard) const;
  void compute(std::int64_t index, SweepShard& shard, const RunContext& call);
  void count(std::size_t place, bool whole) {
    if (done[place] != whole) done_work += whole ? work[place] : -work[place];
    done[place] = whole;
  }
};

namespace {

void make_directory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (!error && std::filesystem::is_directory(directory, error)) return;
  throw Error(ErrorCode::Disk,
              "The directory " + directory + " cannot be made" + (error ? ": " + error.message() : std::string()) + ".",
              "Check the path and your rights there, or use another one.");
}

std::string mebibytes(std::int64_t bytes) {
  constexpr std::int64_t kMebibyte = std::int64_t{1} << 20;
  return std::to_string((bytes + kMebibyte - 1) / kMebibyte) + " MiB";
}

// The context of one call within the state, taken away again when the call ends.
class Lent {
 public:
  Lent(RunContext& place, RunContext run) : place_(place) { place_ = std::move(run); }
  ~Lent() { place_ = {}; }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;

 private:
  RunContext& place_;
};

}  // namespace

// The plan in the directory, checked against the settings, or a new one; and an engine for it.
void ShardedSweep::State::settle_plan() {
  shards::Settings wanted = shards::settings_of(method, generator, clip, statistics, options);
  const std::string& directory = share.directory;
  std::optional<Plan> there = shards::read_plan(directory);
  // Before anything is computed: statistics of another generator would not even fit.
  if (there) shards::require_same(directory, *there, wanted);

  const std::int64_t asked = options.batch;
  if (there && asked == 0) options.batch = there->batch;
  inputs = make_sweep_inputs(generator, statistics, options, run);
  make_engine_anew();
  Plan own;
  own.layout = generator.layout();
  own.statistics = statistics;
  own.channels = inputs.channels;
  own.moving = inputs.moving;
  own.images = options.images;
  own.embedding = clip.embedding_dim();
  const auto complete = [&] {
    own.batch = engine->batch();
    own.implementation = engine->implementation();
    own.block_rows = share.rows > 0 ? share.rows : there ? there->block_rows : 0;
    own.block_images = share.pictures > 0 ? share.pictures : there ? there->block_images : 0;
    if (engine->needs_all_pictures()) {
      if (own.block_images != 0 && own.block_images != own.images) {
        throw Error(ErrorCode::Argument,
                    "Shards of the method " + method + " hold all pictures of their channels, not " +
                        std::to_string(own.block_images) + ".",
                    "Leave the pictures of a shard out.");
      }
      own.block_images = own.images;
    }
    // Work that is the same for any number of rows is done once.
    const bool by_row = engine->work({0, 1, 0, 1}) != engine->work({0, 2, 0, 1});
    if (own.block_rows == 0 && !by_row) own.block_rows = std::max<std::int64_t>(1, std::ssize(own.moving));
    shards::choose_blocks(own, generator, clip);
    own.settings = wanted;
    shards::add_engine_settings(own.settings, own);
  };
  complete();
  if (!there && !shards::create_plan(directory, own)) {  // another process was first: its plan holds
    there = shards::read_plan(directory);
    if (!there) throw Error(ErrorCode::FileDamaged, "The plan in " + directory + " went away.", "Start again.");
    if (asked == 0) options.batch = there->batch;
    make_engine_anew();
    complete();
  }
  if (there) shards::require_same(directory, *there, own.settings);
  if (options.memory_bytes > 0 && engine->least_bytes() > options.memory_bytes) {
    note = "memory is " + mebibytes(options.memory_bytes) +
           "; the sweep runs with its smallest batches, which take up to " + mebibytes(engine->least_bytes()) + ".";
  }
  plan = there ? std::move(*there) : std::move(own);
  // Another kind of machine may round a channel's two values to the same number where the plan's did not.
  inputs.moving = plan.moving;
  options.batch = plan.batch;
}

void ShardedSweep::State::read_directory() {
  shards::remove_leftovers(share.directory);
  const std::vector<bool> there = shards::find_shards(share.directory, plan);
  for (std::int64_t index = share.part - 1; index < plan.shards(); index += share.parts) {
    mine.push_back(index);
    work.push_back(engine->work(plan.block(index)));
    total_work += work.back();
    done.push_back(false);
    count(done.size() - 1, there[static_cast<std::size_t>(index)]);
  }
}

void ShardedSweep::State::report(const RunContext& to, std::int64_t extra, double extra_seconds) const {
  if (!to.progress) return;
  Progress progress;
  progress.phase = "sweep";
  progress.unit = "images";
  progress.done = done_work + extra;
  progress.total = total_work;
  const double spent = seconds + extra_seconds;
  if (spent > 0 && rendered + extra > 0) {
    progress.rate = static_cast<double>(rendered + extra) / spent;
    progress.seconds_left = static_cast<double>(progress.total - progress.done) / progress.rate;
  } else if (progress.done >= progress.total) {
    progress.seconds_left = 0;
  }
  to.progress(progress);
}

// Whether the shard's file is there and whole; a damaged one is named in the warning.
bool ShardedSweep::State::is_there(std::int64_t index, SweepShard& shard) const {
  std::error_code ignored;
  if (!std::filesystem::exists(shard.file, ignored)) return false;
  try {
    const shards::ShardSums there = shards::read_shard(share.directory, plan, index);
    shard.batch = there.batch;
    shard.rendered = there.rendered;
    return true;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::FileDamaged) throw;
    shard.warning = std::string(error.what()) + " It was computed again.";
    return false;
  }
}

void ShardedSweep::State::compute(std::int64_t index, SweepShard& shard, const RunContext& call) {
  const Clock::time_point start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  RunContext here;
  here.cancel = call.cancel;
  if (call.progress) here.progress = [&](const Progress& progress) { report(call, progress.done, elapsed()); };
  const Lent lent(run, std::move(here));
  if (engine == nullptr || engine->batch() != plan.batch) make_engine_anew();  // halved in the shard before

  const SweepBlock block = plan.block(index);
  shards::ShardSums computed{RelevanceSums(block.rows, plan.embedding, c10::Device(clip.device())), 0, 0, ""};
  ProgressMeter meter(run, "sweep", engine->work(block), "images");
  const std::int64_t pictures = engine->run(block, computed.sums, meter);
  if (!note.empty()) {
    if (!shard.warning.empty()) shard.warning.push_back(' ');
    shard.warning.append(note);
    note.clear();
  }
  computed.batch = engine->batch();
  computed.rendered = pictures;
  computed.machine = shards::this_machine(generator.device());
  shards::write_shard(share.directory, plan, index, computed);
  shard.batch = computed.batch;
  shard.rendered = pictures;
  rendered += pictures;
  seconds += elapsed();
}

ShardedSweep::ShardedSweep(std::unique_ptr<State> state) : state_(std::move(state)) {}
ShardedSweep::~ShardedSweep() = default;

std::unique_ptr<ShardedSweep> ShardedSweep::open(const std::string& method, Generator& generator, Clip& clip,
                                                 const StyleStatistics& statistics, const SweepOptions& options,
                                                 const ShardOptions& shards, const RunContext& run) {
  if (shards.part < 1 || shards.parts < shards.part || shards.rows < 0 || shards.pictures < 0) {
    throw Error(ErrorCode::Range,
                "Share " + std::to_string(shards.part) + " of " + std::to_string(shards.parts) + " of a sweep.",
                "Shares are numbered from 1: 1/4, 2/4, 3/4, 4/4.");
  }
  run.check();
  make_directory(shards.directory);
  auto state = std::make_unique<State>(method, generator, clip, options, shards);
  state->statistics = statistics;
  for (at::Tensor* values : {&state->statistics.mean, &state->statistics.sigma}) {
    if (values->defined()) *values = values->to(at::kCPU, at::kFloat).contiguous().clone();
  }
  const Lent lent(state->run, run);
  state->settle_plan();
  state->read_directory();
  return std::unique_ptr<ShardedSweep>(new ShardedSweep(std::move(state)));
}

std::int64_t ShardedSweep::size() const { return static_cast<std::int64_t>(state_->mine.size()); }

std::optional<SweepShard> ShardedSweep::next(const RunContext& run) {
  State& state = *state_;
  run.check();
  if (state.next == state.mine.size()) return std::nullopt;
  const std::int64_t index = state.mine[state.next];
  const SweepBlock block = state.plan.block(index);
  SweepShard shard;
  shard.id = state.plan.id(index);
  shard.file = shards::shard_path(state.share.directory, state.plan, index);
  shard.first_picture = block.first_picture;
  shard.pictures = block.pictures;
  for (std::int64_t i = 0; i < block.rows; ++i) {
    const std::int64_t row = state.plan.moving[static_cast<std::size_t>(block.first_row + i)];
    shard.channels.push_back(state.plan.channels[static_cast<std::size_t>(row)]);
  }

  shard.resumed = state.is_there(index, shard);
  state.count(state.next, shard.resumed);
  if (!shard.resumed) state.compute(index, shard, run);
  state.count(state.next, true);
  ++state.next;
  shard.done = static_cast<std::int64_t>(state.next);
  shard.total = size();
  state.report(run, 0, 0);
  return shard;
}

}  // namespace styleclip
