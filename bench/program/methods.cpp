// Correct first: the rows of every contender are held against the reference's before anything is timed. A float32 contender
// with other numbers is not timed; a lower precision has its rate beside its fault, since what it is for is speed and how far
// off it is stands there. Then contenders take turns, so that a busy moment of the machine falls on all of them.
#include <algorithm>

#include "agreement.h"
#include "contenders.h"
#include "floors.h"
#include "questions.h"
#include "styleclip/error.h"
#include "timing.h"

namespace styleclip::bench {

using nlohmann::ordered_json;

ordered_json answer_methods(const Arguments& arguments) {
  const Sweeps sweeps(load_models(arguments));
  const Load load = load_of(arguments);
  Load checked = load;
  if (arguments.number("check-channels") > 0) checked.channels = arguments.number("check-channels");
  if (arguments.number("check-images") > 0) checked.images = arguments.number("check-images");
  const at::Tensor truth = sweeps.differences(contender_named("reference"), checked);
  const double noise = noise_of(sweeps.differences(other_order(checked), checked), truth);

  std::vector<Contender> able;
  bool passed = true;
  ordered_json methods = ordered_json::array();
  for (const Contender& contender : contenders(arguments)) {
    ordered_json entry = {{"name", contender.name}};
    try {
      entry["agreement"] = agreement(sweeps.differences(contender, checked), truth, noise, {}, 0);
      const std::string fault = fault_of(contender, entry["agreement"], sweeps, arguments, checked, truth);
      if (fault.empty() || contender.precision != Precision::Float32) able.push_back(contender);
      if (!fault.empty()) {
        entry["reason"] = fault;
        passed = false;
      }
    } catch (const Error& error) {
      entry["reason"] = error.what();
      passed = passed && error.code() == ErrorCode::Argument;  // what this device or generator has not
    }
    methods.push_back(entry);
  }

  Ceilings ceilings;
  ceilings.device = at::Device(sweeps.models().generator->device());
  std::vector<Precision> precisions = {Precision::Float32};
  for (const Contender& contender : able) {
    if (std::find(precisions.begin(), precisions.end(), contender.precision) == precisions.end()) {
      precisions.push_back(contender.precision);
    }
  }
  std::vector<std::vector<double>> rates(able.size());
  std::vector<Run> last(able.size());
  std::vector<std::string> broken(able.size());
  for (std::int64_t turn = 0; turn < std::max<std::int64_t>(1, arguments.number("turns")); ++turn) {
    ceilings.measure(precisions);
    for (std::size_t i = 0; i < able.size(); ++i) {
      if (!broken[i].empty()) continue;
      try {
        last[i] = sweeps.run(able[i], load);
        rates[i].push_back(static_cast<double>(last[i].images) / last[i].seconds);
      } catch (const Error& error) {
        broken[i] = error.what();
        passed = false;
      }
    }
  }
  const SweepInputs swept = sweeps.inputs(contender_named("reference"), load);
  for (std::size_t i = 0; i < able.size(); ++i) {
    for (ordered_json& entry : methods) {
      if (entry["name"] != able[i].name) continue;
      if (!broken[i].empty()) {
        entry["reason"] = broken[i];
        continue;
      }
      entry.update(to_json(last[i]));
      entry.erase("seconds");
      entry["imagesPerSecond"] = median(rates[i]);
      entry["channelsPerSecond"] =
          median(rates[i]) * static_cast<double>(last[i].channels) / static_cast<double>(last[i].images);
      entry["floor"] = sweep_floor(sweeps.models(), swept, ceilings, able[i].precision);
      entry["allRates"] = rates[i];
      if (broken[0].empty()) entry["timesFirst"] = median(rates[i]) / median(rates[0]);
    }
  }
  ordered_json result = describe(sweeps.models());
  result["sweep"] = {{"pictures", load.images}, {"layers", load.layers}, {"channels", swept.moving.size()}};
  result["checked"] = {{"pictures", checked.images}, {"channels", truth.size(0)}};
  result["epsilon"] = noise;
  result["ceilings"] = ceilings.json();
  result["passed"] = passed;
  result["methods"] = methods;
  return result;
}

ordered_json answer_sweep(const Arguments& arguments) {
  const Sweeps sweeps(load_models(arguments));
  ordered_json runs = ordered_json::array();
  for (const Contender& contender : contenders(arguments)) {
    ordered_json entry = {{"name", contender.name}};
    entry.update(to_json(sweeps.run(contender, load_of(arguments))));
    runs.push_back(entry);
  }
  ordered_json result = describe(sweeps.models());
  result["methods"] = runs;
  return result;
}

ordered_json answer_ceilings(const Arguments& arguments) {
  Ceilings ceilings;
  ceilings.device = at::Device(arguments.text("device"));
  std::vector<Precision> precisions = {Precision::Float32, Precision::BFloat16};
  if (!ceilings.device.is_cpu()) precisions.insert(precisions.end(), {Precision::TF32, Precision::Float16});
  for (std::int64_t turn = 0; turn < std::max<std::int64_t>(1, arguments.number("turns")); ++turn) {
    ceilings.measure(precisions);
  }
  return {{"ceilings", ceilings.json()}};
}

}  // namespace styleclip::bench
