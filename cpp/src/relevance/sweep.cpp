// The methods of the sweep by name, and a sweep in one piece.
#include <algorithm>
#include <array>
#include <chrono>

#include "relevance/engines.h"
#include "styleclip/error.h"
#include "styleclip/relevance.h"

namespace styleclip {
namespace {

struct Method {
  const char* name;
  std::unique_ptr<SweepEngine> (*make)(const SweepTask&);
};
constexpr std::array kMethods = {Method{"reference", [](const SweepTask& task) { return make_reference_engine(task); }},
                                 Method{"exact", [](const SweepTask& task) { return make_exact_engine(task); }},
                                 Method{"stop-at", &make_stop_at_engine}, Method{"adaptive", &make_adaptive_engine},

                                 Method{"gradient", &make_gradient_engine}};

}  // namespace

std::vector<std::string> sweep_methods() {
  std::vector<std::string> names;
  names.reserve(kMethods.size());
  for (const Method& method : kMethods) names.emplace_back(method.name);
  return names;
}

std::unique_ptr<SweepEngine> make_engine(const std::string& method, const SweepTask& task) {
  const auto found =
      std::find_if(kMethods.begin(), kMethods.end(), [&](const Method& known) { return method == known.name; });
  if (found != kMethods.end()) return found->make(task);

  std::string names;
  for (const Method& known : kMethods) names += (names.empty() ? "" : ", ") + std::string(known.name);
  throw Error(ErrorCode::Argument, "There is no sweep method \"" + method + "\".", "Use one of: " + names + ".");
}

RelevanceRows sweep(const std::string& method, Generator& generator, Clip& clip, const StyleStatistics& statistics,
                    const SweepOptions& options, const RunContext& run) {
  const auto start = std::chrono::steady_clock::now();
  const SweepInputs inputs = make_sweep_inputs(generator, statistics, options, run);
  std::unique_ptr<SweepEngine> engine = make_engine(method, {generator, clip, inputs, options, run});
  const SweepBlock whole{0, static_cast<std::int64_t>(inputs.moving.size()), 0, options.images};
  RelevanceSums sums(whole.rows, engine->row_width(), c10::Device(clip.device()));
  ProgressMeter meter(run, "sweep", engine->work(whole), "images");
  const std::int64_t painted = engine->run(whole, sums, meter);
  const std::string implementation = engine->implementation();
  const std::int64_t batch = engine->batch(), least = engine->least_bytes();
  engine.reset();  // its memory, before the rows take theirs
  RelevanceRows result = finish_rows(sums, inputs.channels, inputs.moving, options.images);
  result.images = painted;
  result.implementation = implementation;
  result.batch = batch;
  result.least_bytes = least;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

RelevanceRows sweep_reference(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                              const SweepOptions& options, const RunContext& run) {
  return sweep("reference", generator, clip, statistics, options, run);
}

RelevanceRows sweep_exact(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                          const SweepOptions& options, const RunContext& run) {
  return sweep("exact", generator, clip, statistics, options, run);
}

RelevanceRows sweep_gradient(Generator& generator, Clip& clip, const StyleStatistics& statistics,
                             const SweepOptions& options, const RunContext& run) {
  return sweep("gradient", generator, clip, statistics, options, run);
}

}  // namespace styleclip
