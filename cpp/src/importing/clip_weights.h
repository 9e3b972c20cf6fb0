// What the importers of CLIP share: where the weights stand in a file, what a configuration beside it says, and how sizes
// follow from shapes. Nothing here goes by a table of model names.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "importing/importer.h"

namespace styleclip::importing {

/// The weights of a file, wherever they stand in it: the root or a dictionary of the usual names in it, without the
/// prefixes that data-parallel and compiled models add. Empty when the file holds no dictionary.
struct ClipWeights {
  TensorMap tensors;
  std::vector<std::string> others;  // names left out: epoch, optimizer, …
  bool training = false;            // a training checkpoint: with epoch and name, as open_clip saves them
};
ClipWeights find_clip_weights(const Checkpoint& file);

/// How many different numbers stand behind `prefix` in the names: layers of a stack, blocks of a stage.
std::int64_t count_numbers(const TensorMap& weights, const std::string& prefix);

/// What a model's configuration says: open_clip's or Hugging Face's.
struct ClipDescription {
  std::string file;       // its name, for messages; empty: there was none
  nlohmann::json config;  // fields of make_archive's clip configuration that it tells
  std::vector<std::string> notes;
};
/// `names` are looked for in the folder of `checkpoint` when the options name no file. Throws FileNotFound, FileDamaged,
/// FormatUnknown, and ModelMismatch for a model that is another network than CLIP, naming what makes it one.
ClipDescription describe_clip(const ImportOptions& options, const std::string& checkpoint,
                              const std::vector<std::string>& names);
ClipDescription parse_open_clip_config(const nlohmann::json& json, const std::string& file);
ClipDescription parse_hugging_face_config(const nlohmann::json& json, const std::string& file);

/// The configuration of make_archive from weights under OpenAI's names. What the shapes tell must agree with the
/// description; heads and activation come from it, or are width / 64 and `fallback_activation`, which the notes then say.
nlohmann::json clip_config(const TensorMap& weights, const ClipDescription& description, const ImportOptions& options,
                           const std::string& fallback_activation, std::vector<std::string>& notes);

/// Throws ModelMismatch when a name holds one of the first texts, saying that the file is the second.
void refuse_clip_kin(const TensorMap& weights,
                     const std::vector<std::pair<std::string_view, std::string_view>>& telling);

}  // namespace styleclip::importing
