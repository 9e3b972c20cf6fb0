// What is the same for all importers.
#include "importing/import.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "styleclip/error.h"
#include "styleclip/models.h"

namespace styleclip::importing {
namespace {

constexpr std::array kKinds = {"generator", "clip", "identity", "encoder", "mapper"};

std::string article(const std::string& kind) { return (kind == "identity" || kind == "encoder" ? "an " : "a ") + kind; }

// One part a kind: a second format of the same kind is another way to read the same weights.
void add(std::vector<Part>& parts, const Importer& importer) {
  const auto same = [&importer](const Part& part) { return part.kind == importer.kind; };
  if (std::none_of(parts.begin(), parts.end(), same)) parts.push_back({importer.kind, importer.format});
}

// A look at a file must not fail because the file is unlike what the importer expects.
bool recognised(const Importer& importer, const Checkpoint& file) {
  try {
    return importer.recognises(file);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::FormatUnknown || error.code() == ErrorCode::ModelMismatch) return false;
    throw;
  }
}

std::string list(const std::vector<Part>& parts) {
  std::string text;
  for (const Part& part : parts) {
    text += (text.empty() ? "" : ", ") + article(part.kind) + " (" + part.format + ")";
  }
  return text;
}

void check_kind(const std::string& kind) {
  if (kind == "auto" || std::find(kKinds.begin(), kKinds.end(), kind) != kKinds.end()) return;
  throw Error(ErrorCode::Argument, "'" + kind + "' is no kind of model.",
              "Use 'generator', 'clip', 'identity', 'encoder', 'mapper' or 'auto'.");
}

// The file holds no part of the wanted kind.
[[noreturn]] void refuse(const Checkpoint& file, const std::string& kind, const std::vector<Part>& parts) {
  if (parts.empty()) {
    throw Error(
        ErrorCode::FormatUnknown,
        file.path() + " (" + checkpoint::container_name(file.container()) +
            ") is no checkpoint that is known: it holds " + outline(file.root()) + ".",
        "docs/models.md, 'Real checkpoints', lists the formats. Weights under the field's names can also be given to "
        "`styleclip make` as .safetensors.");
  }
  throw Error(ErrorCode::ModelKind, file.path() + " holds " + list(parts) + ", not " + article(kind) + ".",
              "Import it as " + parts.front().kind + ", or as 'auto'.");
}

std::int64_t sum(const nlohmann::json& counts) {
  if (counts.is_number_integer()) return counts.get<std::int64_t>();
  std::int64_t total = 0;
  for (const nlohmann::json& count : counts) total += count.get<std::int64_t>();
  return total;
}

}  // namespace

std::vector<Part> parts_of(const Checkpoint& file) {
  std::vector<Part> parts;
  for (const Importer& importer : importers()) {
    if (recognised(importer, file)) add(parts, importer);
  }
  return parts;
}

std::string outline(const Value& root) {
  constexpr std::size_t kShown = 4;
  using Kind = Value::Kind;
  switch (root.kind()) {
    case Kind::Tensor: return "one tensor";
    case Kind::Object: return "an object of class " + root.class_name();
    case Kind::List:
    case Kind::Tuple:
    case Kind::Set: return "a list of " + std::to_string(root.items().size());
    case Kind::Dict: break;
    default: return "one value";
  }
  const auto& entries = root.entries();
  if (entries.empty()) return "an empty dictionary";
  std::string text = "a dictionary with";
  for (std::size_t i = 0; i < std::min(entries.size(), kShown); ++i) {
    const Value& key = entries[i].first;
    const std::string name = key.is(Kind::String) ? key.text().substr(0, 80) : "a key that is no text";
    text += (i > 0 ? ", '" : " '") + name + "'";
  }
  if (entries.size() > kShown) text += " and " + std::to_string(entries.size() - kShown) + " more";
  return text;
}

std::unique_ptr<Found> find_model(const std::string& path, const std::string& kind, const ImportOptions& options,
                                  const RunContext& run) {
  check_kind(kind);
  Checkpoint file = Checkpoint::read(path, run);
  std::vector<Part> others;
  const Importer* chosen = nullptr;
  const std::vector<Importer> all = importers();
  for (const Importer& importer : all) {
    if (!recognised(importer, file)) continue;
    if (chosen == nullptr && (kind == "auto" || kind == importer.kind)) {
      chosen = &importer;
    } else if (chosen == nullptr || std::string_view(chosen->kind) != importer.kind) {
      add(others, importer);
    }
  }
  if (chosen == nullptr) refuse(file, kind, others);
  run.check();
  Imported imported = chosen->import(file, options);
  return std::make_unique<Found>(
      Found{std::move(file), {chosen->kind, imported.format}, std::move(others), std::move(imported)});
}

Written write_model(const Found& found, const WriteOptions& options, const std::string& out, const RunContext& run) {
  MakeRequest request;
  request.kind = found.imported.architecture;
  request.config_json = found.imported.config.dump();
  request.weights = &found.imported.weights;
  request.storage_dtype = options.storage_dtype;
  request.licence = options.licence;
  request.tokenizer_json = options.tokenizer_json;
  request.source_sha256 = found.file.sha256();
  request.source_format = found.imported.format;
  request.release = [&file = found.file](const void* data, std::size_t bytes) { file.release(data, bytes); };
  WrittenArchive written = write_archive(request, out, run);
  return {layers_of(written.description_json), written.parameters, written.bytes, std::move(written.sha256),
          std::move(written.description_json)};
}

std::int64_t layers_of(std::string_view description_json) {
  const nlohmann::json description = nlohmann::json::parse(description_json);
  const std::string kind = description.at("kind").get<std::string>();
  const nlohmann::json& config = description.at("config");
  if (kind == "generator") return static_cast<std::int64_t>(description.at("layers").size());
  if (kind == "clip") return sum(config.at("vision_layers")) + sum(config.at("text_layers"));
  if (kind != "mapper") return sum(config.at("blocks"));
  const std::int64_t deep = config.at("mapping_layers").get<std::int64_t>();
  if (description.at("space") == "w_plus") return deep * static_cast<std::int64_t>(config.at("levels").size());
  const auto layers = static_cast<std::int64_t>(config.at("channels").size());
  return deep * (config.at("layers") == "all" ? layers : layers - (layers + 1) / 3);
}

}  // namespace styleclip::importing
