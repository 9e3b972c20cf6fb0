// plan.json: written, read, compared.
#include "relevance/shards/plan.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/atomic_file.h"
#include "runtime/sha256.h"
#include "styleclip/error.h"
#include "styleclip/runtime.h"

namespace styleclip::shards {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "styleclip.sweep-plan";
constexpr std::int64_t kVersion = 1;

// Pictures of a block. The exact engine folds and runs the network once a picture, which costs about two forwards: shared
// by all rows of the block. Ten pictures keep the files at a tenth of what single pictures would take (250 MB instead of
// 2.5 GB for 6048 channels x 100 pictures x 512 numbers), and a hundred pictures in ten parts.
constexpr std::int64_t kBlockImages = 10;
// Rows of a block at least: two forwards for the 2 x 64 pictures that they serve are 1.6 %.
constexpr std::int64_t kLeastRows = 64;
// Floating-point operations of a block: some seconds to a minute at 0.05 to 0.5 TFLOP/s, and at 0.2 to 2 PFLOP/s. Constants,
// not measurements: a plan must not depend on how busy the machine is.
constexpr double kCpuBlock = 4e12;
constexpr double kDeviceBlock = 2e16;
// CLIP's operations a pixel of its input: ViT-B/32 takes 9e9 for 224 x 224.
constexpr double kClipPerPixel = 1.8e5;

std::string plan_file(const std::string& directory) {
  return (std::filesystem::path(directory) / "plan.json").string();
}

std::int64_t parts_of(std::int64_t total, std::int64_t part) { return part > 0 ? (total + part - 1) / part : 0; }

// Operations of one picture: the convolutions of the generator, an upsampling one at its input's resolution, and CLIP.
double picture_cost(const StyleLayout& layout, std::int64_t clip_size) {
  double cost = kClipPerPixel * static_cast<double>(clip_size * clip_size);
  for (std::size_t i = 0; i + 1 < layout.layers.size(); ++i) {
    const StyleLayer& layer = layout.layers[i];
    if (layer.to_rgb) continue;
    // The next layer, of the same block, takes what this one gives.
    const StyleLayer& next = layout.layers[i + 1];
    const bool up = i > 0 && layout.layers[i - 1].to_rgb;
    const double side = static_cast<double>(up ? layer.resolution / 2 : layer.resolution);
    cost += 18.0 * static_cast<double>(layer.channels * next.channels) * side * side;
  }
  return cost;
}

std::string hex_of(const at::Tensor& values) {
  static constexpr char kDigits[] = "0123456789abcdef";
  const auto* bytes = static_cast<const unsigned char*>(values.const_data_ptr());
  std::string text;
  text.reserve(2 * values.nbytes());
  for (std::size_t i = 0; i < values.nbytes(); ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

[[noreturn]] void bad_plan(const std::string& what) { throw std::runtime_error(what); }

at::Tensor floats_of(const std::string& hex, std::int64_t count) {
  if (hex.size() != static_cast<std::size_t>(count) * 2 * sizeof(float)) bad_plan("statistics of another length");
  at::Tensor values = at::empty({count}, at::kFloat);
  auto* bytes = static_cast<unsigned char*>(values.mutable_data_ptr());
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    bad_plan("statistics that are no hexadecimal digits");
  };
  for (std::size_t i = 0; i < hex.size() / 2; ++i) {
    bytes[i] = static_cast<unsigned char>(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
  }
  return values;
}

// Ascending numbers as [first, count] pairs.
Json ranges_of(const std::vector<std::int64_t>& numbers) {
  Json ranges = Json::array();
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    ranges.push_back({numbers[i], static_cast<std::int64_t>(end - i)});
    i = end;
  }
  return ranges;
}

std::vector<std::int64_t> numbers_of(const Json& ranges, std::int64_t most) {
  std::vector<std::int64_t> numbers;
  for (const Json& range : ranges) {
    const auto first = range.at(0).get<std::int64_t>(), count = range.at(1).get<std::int64_t>();
    if (first < (numbers.empty() ? 0 : numbers.back() + 1) || count < 1 || count > most - first) {
      bad_plan("ranges that are not ascending");
    }
    for (std::int64_t i = 0; i < count; ++i) numbers.push_back(first + i);
  }
  return numbers;
}

Json layout_json(const StyleLayout& layout) {
  Json layers = Json::array();
  for (const StyleLayer& layer : layout.layers) {
    layers.push_back({{"name", layer.name},
                      {"resolution", layer.resolution},
                      {"channels", layer.channels},
                      {"torgb", layer.to_rgb},
                      {"w_row", layer.w_row},
                      {"offset", layer.offset}});
  }
  return layers;
}

StyleLayout layout_of(const Json& layers, std::int64_t rows) {
  StyleLayout layout;
  layout.rows = rows;
  std::int64_t offset = 0;
  for (const Json& layer : layers) {
    StyleLayer one{layer.at("name"),  layer.at("resolution"), layer.at("channels"),
                   layer.at("torgb"), layer.at("w_row"),      layer.at("offset")};
    if (one.channels < 1 || one.offset != offset) bad_plan("style layers that leave a gap");
    offset += one.channels;
    layout.layers.push_back(std::move(one));
  }
  return layout;
}

template <typename Value>
void put(Settings& settings, const char* name, const Value& value) {
  settings.emplace_back(name, Json(value).dump());
}

Json json_of(const Settings& settings) {
  Json json = Json::object();
  for (const auto& [name, text] : settings) json[name] = Json::parse(text);
  return json;
}

const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::Float32: return "float32";
    case Precision::TF32: return "tf32";
    case Precision::Float16: return "float16";
    case Precision::BFloat16: return "bfloat16";
  }
  return "";
}

const char* name_of(NoiseMode noise) {
  switch (noise) {
    case NoiseMode::Const: return "const";
    case NoiseMode::Random: return "random";
    case NoiseMode::None: return "none";
  }
  return "";
}

std::string hash_of(const StyleStatistics& statistics) {
  Sha256 hash;
  for (const at::Tensor& values : {statistics.mean, statistics.sigma}) {
    const at::Tensor host = values.defined() ? values.to(at::kCPU, at::kFloat).contiguous() : at::empty({0});
    hash.update(host.const_data_ptr(), host.nbytes());
  }
  return hash.hex();
}

// A value as a message shows it: hashes shortened.
std::string shown(const std::string& json) {
  constexpr std::size_t kHash = 66, kSome = 13;
  return json.size() == kHash && json[0] == '"' ? json.substr(0, kSome) + "…\"" : json;
}

Json parse_plan(const std::string& path, const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("format") || json["format"] != kFormat || !json.contains("version") ||
      !json["version"].is_number_integer()) {
    throw Error(ErrorCode::FileDamaged, path + " is no plan of a sweep.",
                "Use another directory, or remove the file if you know that it is not needed.");
  }
  if (json["version"].get<std::int64_t>() > kVersion) {
    throw Error(ErrorCode::FormatVersion,
                path + " has version " + std::to_string(json["version"].get<std::int64_t>()) + "; this package reads " +
                    std::to_string(kVersion) + ".",
                "Update the package, or use another directory.");
  }
  return json;
}

}  // namespace

std::int64_t Plan::row_blocks() const { return parts_of(static_cast<std::int64_t>(moving.size()), block_rows); }
std::int64_t Plan::image_blocks() const { return parts_of(images, block_images); }

SweepBlock Plan::block(std::int64_t index) const {
  const std::int64_t row_parts = std::max<std::int64_t>(1, row_blocks());
  const std::int64_t image_block = index / row_parts;
  const std::int64_t row_block = (index % row_parts + image_block) % row_parts;
  SweepBlock block;
  block.first_row = row_block * block_rows;
  block.rows = std::min(block_rows, static_cast<std::int64_t>(moving.size()) - block.first_row);
  block.first_picture = image_block * block_images;
  block.pictures = std::min(block_images, images - block.first_picture);
  return block;
}

std::int64_t Plan::index_of(std::int64_t row_block, std::int64_t image_block) const {
  const std::int64_t row_parts = std::max<std::int64_t>(1, row_blocks());
  const std::int64_t place = (row_block - image_block % row_parts + row_parts) % row_parts;
  return image_block * row_parts + place;
}

std::string Plan::id(std::int64_t index) const {
  const SweepBlock at = block(index);
  std::ostringstream key;
  key << "styleclip.shard 1\n" << sha256;
  for (const std::int64_t number : {index, at.first_row, at.rows, at.first_picture, at.pictures}) {
    key << '\n' << number;
  }
  std::ostringstream id;
  id << "shard-" << std::setw(5) << std::setfill('0') << index << '-' << sha256_hex(key.str()).substr(0, 16);
  return id.str();
}

Settings settings_of(const std::string& method, const Generator& generator, const Clip& clip,
                     const StyleStatistics& statistics, const SweepOptions& options) {
  Settings settings;
  put(settings, "generator_sha256", generator.sha256());
  put(settings, "clip_sha256", clip.sha256());
  put(settings, "dtype", generator.dtype());
  put(settings, "clip_dtype", clip.dtype());
  put(settings, "device", generator.device().substr(0, generator.device().find(':')));
  put(settings, "method", method);
  put(settings, "precision", name_of(options.precision));
  if (method == "stop-at") put(settings, "stop_at", options.stop_at);
  if (method == "adaptive") {
    put(settings, "cosine", options.cosine);
    put(settings, "confidence", options.confidence);
  }
  put(settings, "images", options.images);
  put(settings, "sigmas", options.sigmas);
  put(settings, "perturb", options.perturbation == Perturbation::Absolute ? "absolute" : "relative");
  put(settings, "layers", options.layers);
  put(settings, "preprocess", options.preprocess == Preprocess::Float ? "float" : "reference8");
  put(settings, "noise", name_of(options.noise));
  put(settings, "seed", std::to_string(options.samples.seed));  // as text: it may be above 2^53
  put(settings, "truncation_psi", options.samples.truncation_psi);
  put(settings, "truncation_cutoff", options.samples.truncation_cutoff);
  put(settings, "statistics_samples", statistics.samples);
  put(settings, "statistics_sha256", hash_of(statistics));
  put(settings, "embedding", clip.embedding_dim());
  put(settings, "libtorch", torch_version());
  put(settings, "package_version", STYLECLIP_VERSION);
  return settings;
}

void add_engine_settings(Settings& settings, const Plan& plan) {
  std::string channels;
  for (const std::int64_t channel : plan.channels) channels += std::to_string(channel) + "\n";
  put(settings, "channels_sha256", sha256_hex(channels));
  put(settings, "implementation", plan.implementation);
  put(settings, "batch", plan.batch);
  put(settings, "shard_channels", plan.block_rows);
  put(settings, "shard_images", plan.block_images);
}

void choose_blocks(Plan& plan, const Generator& generator, const Clip& clip) {
  const auto rows = std::max<std::int64_t>(1, static_cast<std::int64_t>(plan.moving.size()));
  if (plan.block_images == 0) plan.block_images = kBlockImages;
  plan.block_images = std::min(plan.block_images, plan.images);
  if (plan.block_rows == 0) {
    const double operations = generator.device() == "cpu" ? kCpuBlock : kDeviceBlock;
    const double row = 2.0 * static_cast<double>(plan.block_images) * picture_cost(plan.layout, clip.image_size());
    const double fit = std::clamp(operations / row, static_cast<double>(kLeastRows), static_cast<double>(1 << 30));
    // Blocks of equal size: no small one at the end.
    plan.block_rows = parts_of(rows, parts_of(rows, static_cast<std::int64_t>(fit)));
  }
  plan.block_rows = std::min(plan.block_rows, rows);
}

std::optional<Plan> read_plan(const std::string& directory) {
  const std::string path = plan_file(directory);
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) return std::nullopt;
    throw Error(ErrorCode::FileNotFound, path + " may not be read.", "Check its permissions.");
  }
  std::ostringstream text;
  text << file.rdbuf();
  Json json = parse_plan(path, text.str());
  try {
    Plan plan;
    plan.sha256 = json.at("sha256").get<std::string>();
    json.erase("sha256");
    if (sha256_hex(json.dump()) != plan.sha256) bad_plan("another checksum than its own");
    for (const auto& [name, value] : json.at("settings").items()) plan.settings.emplace_back(name, value.dump());
    const Json& settings = json.at("settings");
    plan.images = settings.at("images");
    plan.embedding = settings.at("embedding");
    plan.batch = settings.at("batch");
    plan.block_rows = settings.at("shard_channels");
    plan.block_images = settings.at("shard_images");
    plan.implementation = settings.at("implementation");
    plan.layout = layout_of(json.at("style_layers"), json.at("style_rows"));
    plan.statistics.samples = settings.at("statistics_samples");
    plan.statistics.mean = floats_of(json.at("mean"), plan.layout.total());
    plan.statistics.sigma = floats_of(json.at("sigma"), plan.layout.total());
    plan.channels = numbers_of(json.at("channels"), plan.layout.total());
    plan.moving = numbers_of(json.at("moving"), static_cast<std::int64_t>(plan.channels.size()));
    if (plan.images < 1 || plan.embedding < 1 || plan.batch < 1 || plan.block_rows < 1 || plan.block_images < 1) {
      bad_plan("sizes that are not positive");
    }
    return plan;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::FileDamaged, path + " is damaged.",
                "Restore it, or use another directory: without its plan the shards are of no use.", error.what());
  }
}

bool create_plan(const std::string& directory, Plan& plan) {
  Json json = {{"format", kFormat},
               {"version", kVersion},
               {"settings", json_of(plan.settings)},
               {"style_rows", plan.layout.rows},
               {"style_layers", layout_json(plan.layout)},
               {"channels", ranges_of(plan.channels)},
               {"moving", ranges_of(plan.moving)},
               {"mean", hex_of(plan.statistics.mean)},
               {"sigma", hex_of(plan.statistics.sigma)}};
  plan.sha256 = sha256_hex(json.dump());
  json["sha256"] = plan.sha256;
  const std::string text = json.dump(2) + "\n";
  AtomicFile file(plan_file(directory));
  file.write(text.data(), text.size());
  return file.commit_new();
}

void require_same(const std::string& directory, const Plan& plan, const Settings& wanted) {
  std::string differences;
  for (const auto& [name, value] : wanted) {
    const auto there = std::find_if(plan.settings.begin(), plan.settings.end(),
                                    [&, &name = name](const auto& known) { return known.first == name; });
    if (there != plan.settings.end() && there->second == value) continue;
    differences += (differences.empty() ? "" : "; ") + name + " is " +
                   (there == plan.settings.end() ? "not set" : shown(there->second)) + " there and " + shown(value) +
                   " here";
  }
  if (differences.empty()) return;
  throw Error(ErrorCode::ResumeMismatch, directory + " holds a sweep with other settings: " + differences + ".",
              "Repeat the settings in its plan.json, or use another directory.");
}

std::string settings_json(const Plan& plan) { return json_of(plan.settings).dump(); }

}  // namespace styleclip::shards
