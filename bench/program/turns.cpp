// Taking turns with programs of other languages: one JSON request a line on stdin, one answer a line on stdout, models and
// statistics loaded once. A request names what to do; the load is that of the command line, with `images`, `channels`,
// `batch`, `memory` of the request in its place.
//
//     {"do": "sweep", "contender": "exact/bfloat16"}     seconds, images, channels, batch, leastBytes, implementation,
//                                                        peakBytes
//     {"do": "memory"}                                   residentBytes now; peakBytes count from here
//     {"do": "ceilings", "precisions": ["float32"]}      the ceilings of this moment
//     {"do": "agreement", "contenders": […], "directions": FILE?, "survivors": 20}
//                                                        each against exact/float32, that against the reference
//     {"do": "pictures", "contender": "exact", "file": FILE}   what another implementation needs to render the same:
//         float32 numbers, native order: base [images, total], then plus and minus [channels, images], then the
//         differences of our unit embeddings [channels, images, dim]; sizes and flat channels in the answer
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include <fstream>
#include <iostream>
#include <sstream>

#include "agreement.h"
#include "contenders.h"
#include "questions.h"
#include "runtime/resident_memory.h"
#include "styleclip/error.h"
#include "timing.h"

namespace styleclip::bench {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

Load load_for(const Arguments& arguments, const json& request) {
  Load load = load_of(arguments);
  load.images = request.value("images", load.images);
  load.channels = request.value("channels", load.channels);
  load.batch = request.value("batch", load.batch);
  load.memory = request.value("memory", load.memory);
  return load;
}

// The peak starts anew at what is resident now.
ordered_json forget_peak() { return {{"residentBytes", start_peak()}}; }

ordered_json sweep(const Sweeps& sweeps, const Arguments& arguments, const json& request) {
  const Contender contender = contender_named(request.at("contender"));
  ordered_json result = to_json(sweeps.run(contender, load_for(arguments, request)));
  result["peakBytes"] = peak_bytes();
  return result;
}

ordered_json ceilings(const Sweeps& sweeps, const json& request) {
  Ceilings measured;
  measured.device = at::Device(sweeps.models().generator->device());
  std::vector<Precision> precisions;
  for (const std::string word : request.at("precisions")) precisions.push_back(precision_named(word));
  measured.measure(precisions);
  return measured.json();
}

// [prompts, dim] float32 in native order.
at::Tensor read_directions(const std::string& path, std::int64_t dim) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  std::string text = bytes.str();
  if (!file || text.empty() || text.size() % (sizeof(float) * static_cast<std::size_t>(dim)) != 0) {
    throw Error(ErrorCode::Disk, "Cannot read directions of " + std::to_string(dim) + " numbers from " + path + ".",
                "Write float32 numbers in native order.");
  }
  return at::from_blob(text.data(), {static_cast<std::int64_t>(text.size() / sizeof(float)) / dim, dim}, at::kFloat)
      .clone();
}

ordered_json agreements(const Sweeps& sweeps, const Arguments& arguments, const json& request) {
  const Load load = load_for(arguments, request);
  const std::int64_t survivors = request.value("survivors", 20);
  at::Tensor directions;
  if (request.contains("directions")) {
    directions = read_directions(request["directions"], sweeps.models().clip->embedding_dim());
  }
  const at::Tensor reference = sweeps.differences(contender_named("reference"), load);
  const double noise = noise_of(sweeps.differences(other_order(load), load), reference);
  const at::Tensor exact = sweeps.differences(contender_named("exact"), load);
  ordered_json all;
  for (const std::string name : request.at("contenders")) {
    try {
      const at::Tensor got = name == "exact" ? exact : sweeps.differences(contender_named(name), load);
      const at::Tensor truth = name == "exact" ? reference : exact;
      all[name] = agreement(got, truth, noise, directions, survivors);
      const std::string fault = fault_of(contender_named(name), all[name], sweeps, arguments, load, truth);
      if (!fault.empty()) all[name]["reason"] = fault;
    } catch (const Error& error) {
      all[name] = {{"reason", error.what()}};
    }
  }
  return {{"epsilon", noise}, {"against", all}};
}

ordered_json pictures(const Sweeps& sweeps, const Arguments& arguments, const json& request) {
  const Contender contender = contender_named(request.at("contender"));
  const Load load = load_for(arguments, request);
  const SweepInputs inputs = sweeps.inputs(contender, load);
  const at::Tensor moving = at::tensor(inputs.moving, at::kLong);
  const at::Tensor differences = sweeps.differences(contender, load);
  const at::Tensor numbers =
      at::cat({inputs.base.to(at::kCPU, at::kFloat).flatten(),
               inputs.plus.to(at::kCPU).index_select(0, moving).flatten(),
               inputs.minus.to(at::kCPU).index_select(0, moving).flatten(), differences.to(at::kFloat).flatten()})
          .contiguous();
  write_file_atomic(request.at("file"), std::string(reinterpret_cast<const char*>(numbers.const_data_ptr<float>()),
                                                    static_cast<std::size_t>(numbers.nbytes())));
  std::vector<std::int64_t> channels;
  channels.reserve(inputs.moving.size());
  for (const std::int64_t row : inputs.moving) channels.push_back(inputs.channels[static_cast<std::size_t>(row)]);
  ordered_json layers = ordered_json::array();
  for (const StyleLayer& layer : sweeps.models().generator->layout().layers) {
    layers.push_back({{"channels", layer.channels}, {"offset", layer.offset}, {"toRgb", layer.to_rgb}});
  }
  return {{"images", load.images},
          {"total", inputs.base.size(1)},
          {"channels", channels},
          {"dim", differences.size(2)},
          {"layers", layers}};
}

ordered_json answer(const Sweeps& sweeps, const Arguments& arguments, const json& request) {
  const std::string what = request.at("do");
  if (what == "sweep") return sweep(sweeps, arguments, request);
  if (what == "memory") return forget_peak();
  if (what == "ceilings") return ceilings(sweeps, request);
  if (what == "agreement") return agreements(sweeps, arguments, request);
  if (what == "pictures") return pictures(sweeps, arguments, request);
  throw Error(ErrorCode::Argument, "There is no request '" + what + "'.", "See turns.cpp.");
}

}  // namespace

void take_turns(const Arguments& arguments) {
  const Sweeps sweeps(load_models(arguments));
  std::cout << describe(sweeps.models()).dump() << '\n' << std::flush;
  for (std::string line; std::getline(std::cin, line);) {
    ordered_json result;
    try {
      result = answer(sweeps, arguments, json::parse(line));
    } catch (const std::exception& error) {
      result = {{"error", error.what()}};
    }
    std::cout << result.dump() << '\n' << std::flush;
  }
}

}  // namespace styleclip::bench
