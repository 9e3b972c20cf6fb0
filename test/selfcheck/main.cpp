// styleclip_selfcheck: does the core compute the right numbers on this machine's devices? Runs every operator's table
// of cases with every implementation on every device, without Node, models or test data.
//
//     styleclip_selfcheck [--cuda-library <styleclip_cuda.so>] [--implementation reference|cpu|cuda] [--json <file>]
//                         [--time]
//
// Ends with "N passed, N failed"; the status is 0 when none failed. With --cuda-library a machine without a usable GPU
// is a failure; without it only the CPU is looked at. With --implementation one implementation alone runs: under a
// sanitizer "cuda" leaves out what libtorch's own kernels compute. With --time each is timed too, beside a large copy.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gradient_operator_cases.h"
#include "operator_cases.h"
#include "resize_operator_cases.h"
#include "running.h"
#include "styleclip/error.h"
#include "styleclip/models.h"
#include "styleclip/ops.h"
#include "styleclip/runtime.h"
#include "sweep_operator_cases.h"

namespace styleclip::selfcheck {
namespace {

constexpr const char* kImplementations[] = {"reference", "cpu", "cuda"};

struct Arguments {
  std::string cuda_library, implementation, json;
  bool time = false;
};

bool is_implementation(const std::string& word) {
  return std::find(std::begin(kImplementations), std::end(kImplementations), word) != std::end(kImplementations);
}

bool parse(int count, char** words, Arguments& arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--time") {
      arguments.time = true;
    } else if (word == "--cuda-library" && i + 1 < count) {
      arguments.cuda_library = std::filesystem::absolute(words[++i]).string();
    } else if (word == "--json" && i + 1 < count) {
      arguments.json = words[++i];
    } else if (word == "--implementation" && i + 1 < count && is_implementation(words[i + 1])) {
      arguments.implementation = words[++i];
    } else {
      std::cerr << "Usage: styleclip_selfcheck [--cuda-library <styleclip_cuda.so>] "
                   "[--implementation reference|cpu|cuda] [--json <file>] [--time]\n";
      return false;
    }
  }
  return true;
}

struct Report {
  std::vector<std::string> devices;
  std::vector<Outcome> outcomes;
  std::vector<Timing> timings;
  std::map<std::string, double> copies;  // GB/s by device

  void add(const std::vector<Timing>& more) { timings.insert(timings.end(), more.begin(), more.end()); }
};

Report run(const Arguments& arguments) {
  register_ops();
  if (!arguments.cuda_library.empty()) {
    load_cuda_library(arguments.cuda_library);
    resolve_device("cuda");  // throws Device where there is none
  }
  Report report{available_devices(), {}, {}, {}};
  for (const std::string& name : report.devices) {
    const c10::Device device(name);
    const auto runs_here = [&](const std::string& implementation) {
      if (!arguments.implementation.empty() && implementation != arguments.implementation) return false;
      return implementation == "reference" || implementation == (device.is_cpu() ? "cpu" : "cuda");
    };
    const auto to_time = [&] { return arguments.time && report.outcomes.back().failed == 0; };
    if (arguments.time) report.copies[name] = copy_gigabytes_per_second(device);
    for (const std::string& implementation : implementations("accumulate_directions")) {
      if (!runs_here(implementation)) continue;
      report.outcomes.push_back(run_accumulate_directions(implementation, device));
      if (to_time()) report.add(time_accumulate_directions(implementation, device));
    }
    for (const cases::sweep::Op op : cases::sweep::kOps) {
      for (const std::string& implementation : implementations(cases::sweep::name(op))) {
        if (!runs_here(implementation)) continue;
        report.outcomes.push_back(run_sweep_operator(op, implementation, device));
        // The reference computes in float64 and would not fit at these sizes.
        if (implementation == "reference" && !device.is_cpu()) continue;
        if (to_time()) report.add(time_sweep_operator(op, implementation, device));
      }
    }
    for (const std::string& implementation : implementations("resize_8bit")) {
      if (!runs_here(implementation)) continue;
      report.outcomes.push_back(run_resize_8bit(implementation, device));
      if (to_time()) report.add(time_resize_8bit(implementation, device));
    }
    for (const cases::gradients::Op op : cases::gradients::kOps) {
      for (const std::string& implementation : implementations(cases::gradients::name(op))) {
        if (!runs_here(implementation)) continue;
        report.outcomes.push_back(run_gradient_operator(op, implementation, device));
        if (to_time()) report.add(time_gradient_operator(op, implementation, device));
      }
    }
  }
  return report;
}

nlohmann::ordered_json to_json(const Report& report) {
  nlohmann::ordered_json json;
  json["torch"] = torch_version();
  json["builtWithTorch"] = built_torch_version();
  json["devices"] = report.devices;
  json["checks"] = nlohmann::ordered_json::array();
  for (const Outcome& outcome : report.outcomes) {
    json["checks"].push_back({{"op", outcome.op},
                              {"implementation", outcome.implementation},
                              {"device", outcome.device},
                              {"passed", outcome.passed},
                              {"failed", outcome.failed},
                              {"failures", outcome.failures}});
  }
  json["copyGigabytesPerSecond"] = report.copies;
  json["timings"] = nlohmann::ordered_json::array();
  for (const Timing& timing : report.timings) {
    json["timings"].push_back({{"op", timing.op},
                               {"implementation", timing.implementation},
                               {"device", timing.device},
                               {"shape", timing.shape},
                               {"type", timing.type},
                               {"milliseconds", timing.milliseconds},
                               {"bytes", timing.bytes},
                               {"gigabytesPerSecond", timing.gigabytes_per_second()},
                               {"shareOfCopy", timing.gigabytes_per_second() / report.copies.at(timing.device)}});
  }
  return json;
}

int print(const Report& report) {
  std::cout << "libtorch " << torch_version() << ", devices:";
  for (const std::string& device : report.devices) std::cout << " " << device;
  std::cout << "\n";
  int passed = 0;
  int failed = 0;
  for (const Outcome& outcome : report.outcomes) {
    std::cout << outcome.op << ", " << outcome.implementation << " on " << outcome.device << ": " << outcome.passed
              << " passed, " << outcome.failed << " failed\n";
    for (const std::string& failure : outcome.failures) std::cout << "  " << failure << "\n";
    passed += outcome.passed;
    failed += outcome.failed;
  }
  for (const Timing& timing : report.timings) {
    std::cout << timing.op << ", " << timing.implementation << " on " << timing.device << ", " << timing.shape << " "
              << timing.type << ": " << timing.milliseconds << " ms, " << timing.gigabytes_per_second() << " GB/s\n";
  }
  for (const auto& [device, rate] : report.copies) std::cout << "a copy on " << device << ": " << rate << " GB/s\n";
  std::cout << passed << " passed, " << failed << " failed\n";
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace
}  // namespace styleclip::selfcheck

int main(int count, char** words) {
  using namespace styleclip::selfcheck;
  Arguments arguments;
  if (!parse(count, words, arguments)) return 2;
  try {
    const Report report = run(arguments);
    if (!arguments.json.empty()) styleclip::write_file_atomic(arguments.json, to_json(report).dump(2) + "\n");
    return print(report);
  } catch (const styleclip::Error& error) {
    std::cerr << error.what() << "\n" << error.remedy() << "\n";
    return 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
