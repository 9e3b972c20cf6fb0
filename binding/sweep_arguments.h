// What the calls of a sweep share, whether it runs in one piece or in shards.
#pragma once

#include <memory>
#include <string>

#include "convert.h"
#include "model.h"
#include "styleclip/relevance.h"

namespace styleclip::binding {

/// A copy of { mean, sigma, samples }.
struct StatisticsIn {
  HostArray mean, sigma;
  std::int64_t samples = 0;

  explicit StatisticsIn(const Options& options);
  /// Valid as long as this is. Device thread.
  StyleStatistics view() const { return {mean.view(), sigma.view(), samples}; }
};

/// What a sweep takes, as the first four arguments: generator, CLIP model, statistics, options.
struct SweepIn {
  std::shared_ptr<LoadedModel> generator, clip;  // open, on one device
  StatisticsIn statistics;
  std::string method;
  SweepOptions options;

  explicit SweepIn(const Napi::CallbackInfo& info);
};

/// Makes tensors ready to be copied out. Device thread.
void to_host(RelevanceRows& rows);
Napi::Object write_relevance(Napi::Env env, const RelevanceRows& rows);
/// { mean, sigma, samples } of tensors made by to_host.
Napi::Object write_statistics(Napi::Env env, const StyleStatistics& statistics);

}  // namespace styleclip::binding
