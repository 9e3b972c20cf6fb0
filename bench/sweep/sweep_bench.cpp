// How many pictures a second the relevance sweep renders and embeds: every method compiled in, on given models, beside
// the rate of a large matrix product on the same threads. Prints one JSON object. Correctness comes first: a method whose
// rows differ from the picture-by-picture ones by more than the embeddings' own noise allows has no rate.
//
//     sweep_bench GENERATOR.pt CLIP.pt [--images 2] [--layers conv] [--threads 0] [--repeats 3] [--batch 0]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "styleclip/error.h"
#include "styleclip/relevance.h"
#include "styleclip/runtime.h"

namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kMatmul = 2048;

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double matmul_gflops() {
  const at::Tensor a = at::randn({kMatmul, kMatmul});
  const at::Tensor b = at::randn({kMatmul, kMatmul});
  at::Tensor c = at::empty({kMatmul, kMatmul});
  const double cube = static_cast<double>(kMatmul) * kMatmul * kMatmul;
  return 2e-9 * cube / seconds_of([&] { at::mm_out(c, a, b); });
}

/// One way of running the sweep.
struct Contender {
  std::string name, method;
  std::int64_t batch;  // 0: chosen
};

/// How two tables of the same channels differ. Distances are of un-normalised mean differences: magnitude ·
/// concentration · row is their estimate, in units of a unit embedding.
ordered_json agreement(const styleclip::RelevanceRows& rows, const styleclip::RelevanceRows& truth) {
  const auto mean_difference = [](const styleclip::RelevanceRows& table) {
    return table.rows.to(at::kDouble) * (table.magnitude * table.concentration).to(at::kDouble).unsqueeze(1);
  };
  const at::Tensor moved = (mean_difference(rows) - mean_difference(truth)).norm(2, 1);
  const at::Tensor cosine = (rows.rows.to(at::kDouble) * truth.rows.to(at::kDouble)).sum(1);
  return {{"largestDistance", moved.max().item<double>()}, {"lowestCosine", cosine.min().item<double>()}};
}

struct Arguments {
  std::vector<std::string> files;
  std::map<std::string, std::string> options = {
      {"images", "2"}, {"layers", "conv"}, {"threads", "0"}, {"repeats", "3"}, {"batch", "0"}};
  std::int64_t number(const std::string& name) const { return std::stoll(options.at(name)); }
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--", 0) != 0) {
      arguments.files.push_back(word);
    } else if (arguments.options.count(word.substr(2)) == 0 || i + 1 >= argc) {
      throw styleclip::Error(styleclip::ErrorCode::Argument, "Unknown option " + word + ".", "See the file's top.");
    } else {
      arguments.options[word.substr(2)] = argv[++i];
    }
  }
  if (arguments.files.size() == 2) return arguments;
  throw styleclip::Error(styleclip::ErrorCode::Argument, "Expected two files.", "sweep_bench GENERATOR.pt CLIP.pt");
}

ordered_json measure(const Arguments& arguments) {
  styleclip::prepare_thread();
  styleclip::set_threads(static_cast<int>(arguments.number("threads")));
  styleclip::LoadOptions load;
  load.device = "cpu";
  const auto generator = styleclip::Generator::load(arguments.files[0], load);
  const auto clip = styleclip::Clip::load(arguments.files[1], load);
  const styleclip::RunContext run;
  const styleclip::StyleStatistics statistics = styleclip::style_statistics(*generator, 2000, {}, run);

  const auto sweep = [&](const Contender& contender) {
    styleclip::SweepOptions options;
    options.images = arguments.number("images");
    options.layers = {arguments.options.at("layers")};
    options.batch = contender.batch;
    return styleclip::sweep(contender.method, *generator, *clip, statistics, options, run);
  };
  std::vector<Contender> contenders = {{"picture by picture", "reference", 1}};
  for (const std::string& method : styleclip::sweep_methods()) {
    contenders.push_back({method, method, arguments.number("batch")});
  }

  // Contenders take turns, so that a busy moment of the machine falls on all of them.
  std::vector<std::vector<double>> rates(contenders.size());
  std::vector<styleclip::RelevanceRows> tables(contenders.size());
  std::vector<double> matmul;
  for (std::int64_t repeat = 0; repeat < std::max<std::int64_t>(1, arguments.number("repeats")); ++repeat) {
    matmul.push_back(matmul_gflops());
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      tables[i] = sweep(contenders[i]);
      rates[i].push_back(static_cast<double>(tables[i].images) / tables[i].seconds);
    }
    matmul.push_back(matmul_gflops());
  }

  ordered_json methods = ordered_json::array();
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    methods.push_back({{"name", contenders[i].name},
                       {"method", contenders[i].method},
                       {"batch", contenders[i].batch},
                       {"images", tables[i].images},
                       {"imagesPerSecond", median(rates[i])},
                       {"allRates", rates[i]},
                       {"timesPictureByPicture", median(rates[i]) / median(rates[0])},
                       {"agreement", agreement(tables[i], tables[0])}});
  }
  return {
      {"torch", styleclip::torch_version()},
      {"threads", at::get_num_threads()},
      {"generator",
       {{"sha256", generator->sha256()},
        {"imageSize", generator->image_size()},
        {"convChannels", generator->layout().conv_channels()},
        {"torgbChannels", generator->layout().torgb_channels()}}},
      {"clip", {{"sha256", clip->sha256()}, {"imageSize", clip->image_size()}, {"embedding", clip->embedding_dim()}}},
      {"sweep",
       {{"pictures", arguments.number("images")},
        {"layers", arguments.options.at("layers")},
        {"channels", tables[0].channels.size()}}},
      {"matmul", {{"size", kMatmul}, {"gflops", median(matmul)}, {"all", matmul}}},
      {"methods", methods}};
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::printf("%s\n", measure(parse(argc, argv)).dump(2).c_str());
    return 0;
  } catch (const styleclip::Error& error) {
    std::fprintf(stderr, "%s\n%s\n", error.what(), error.remedy().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
