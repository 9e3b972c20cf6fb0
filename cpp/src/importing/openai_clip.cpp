// CLIP under OpenAI's names: OpenAI's TorchScript archives (as boxes of tensors; their code, with its devices and types
// baked in, is not looked at), state dicts of openai/CLIP, and open_clip's checkpoints, whose standard towers have the same
// names but mostly the exact GELU. A file does not tell its activation: a configuration does, or the user, or else it is
// assumed and said.
#include <array>
#include <utility>

#include "importing/clip_weights.h"
#include "importing/conversion.h"
#include "styleclip/error.h"

namespace styleclip::importing {
namespace {

constexpr const char* kScriptFormat = "OpenAI CLIP (TorchScript)";
constexpr const char* kStateFormat = "OpenAI CLIP (state dict)";
constexpr const char* kOpenClipFormat = "open_clip";

// Beside the weights in OpenAI's archives (clip.load drops them); the mask in old files of open_clip.
constexpr std::array kSizes = {"input_resolution", "context_length", "vocab_size"};
constexpr const char* kMask = "attn_mask";

bool starts_any(const TensorMap& tensors, const std::string& prefix) {
  const auto at = tensors.lower_bound(prefix);
  return at != tensors.end() && at->first.starts_with(prefix);
}

/// Kin of CLIP whose files have a picture tower named `visual` too.
const std::vector<std::pair<std::string_view, std::string_view>>& kin() {
  static const std::vector<std::pair<std::string_view, std::string_view>> list = {
      {"visual.trunk.", "an open_clip model with a timm picture tower"},
      {"text.transformer.embeddings.", "an open_clip model with a Hugging Face text tower"},
      {"text.transformer.encoder.", "an open_clip model with a Hugging Face text tower"},
      {"text_decoder.", "CoCa"},
      {"logit_bias", "SigLIP"},
      {"visual.attn_pool.", "an open_clip model with attentional pooling"},
      {"visual.blocks.", "EVA-CLIP"},
      {".ls_1.gamma", "an open_clip model with scaled layers"},
  };
  return list;
}

bool is_script(const Checkpoint& file) { return file.container() == checkpoint::Container::TorchScript; }

bool is_clip(const ClipWeights& found) {
  return found.tensors.contains("logit_scale") && starts_any(found.tensors, "visual.");
}

bool recognises_script(const Checkpoint& file) {
  if (!is_script(file)) return false;
  const ClipWeights found = find_clip_weights(file);
  return is_clip(found) && found.tensors.contains("input_resolution");
}

bool recognises_state(const Checkpoint& file) { return is_clip(find_clip_weights(file)); }

/// Files that look like open_clip's: OpenAI published no safetensors, no CustomTextCLIP, no mask and no training state.
bool looks_like_open_clip(const Checkpoint& file, const ClipWeights& found) {
  return file.container() == checkpoint::Container::Safetensors || found.training ||
         starts_any(found.tensors, "text.") || found.tensors.contains(kMask);
}

/// CustomTextCLIP keeps its text tower under `text.`; a scale of one element may have a dimension.
void use_plain_names(TensorMap& tensors) {
  const std::string prefix = "text.";
  for (auto at = tensors.lower_bound(prefix); at != tensors.end() && at->first.starts_with(prefix);) {
    tensors.insert_or_assign(at->first.substr(prefix.size()), at->second);
    at = tensors.erase(at);
  }
  const auto scale = tensors.find("logit_scale");
  if (scale != tensors.end() && scale->second.dim() == 1 && scale->second.size(0) == 1) {
    scale->second = scale->second.squeeze(0);
  }
}

Imported import_names(const Checkpoint& file, const ImportOptions& options, bool script) {
  ClipWeights found = find_clip_weights(file);
  refuse_clip_kin(found.tensors, kin());
  // An archive of OpenAI's may lie in one folder with anything; what it is, is known.
  const std::vector<std::string> names =
      script ? std::vector<std::string>{} : std::vector<std::string>{"open_clip_config.json"};
  const ClipDescription description = describe_clip(options, file.path(), names);
  const bool open_clip = !script && (!description.file.empty() || looks_like_open_clip(file, found));

  Imported imported;
  imported.architecture = "clip";
  imported.format = script ? kScriptFormat : open_clip ? kOpenClipFormat : kStateFormat;
  imported.ignored = std::move(found.others);
  imported.notes = description.notes;
  for (const char* name : {kSizes[0], kSizes[1], kSizes[2], kMask}) {
    if (found.tensors.erase(name) > 0) imported.ignored.emplace_back(name);
  }
  use_plain_names(found.tensors);
  std::vector<std::string> assumed;
  imported.config = clip_config(found.tensors, description, options, open_clip ? "gelu" : "quickgelu", assumed);
  // All archives that OpenAI published have QuickGELU.
  if (!script) imported.notes.insert(imported.notes.end(), assumed.begin(), assumed.end());
  take_tensors(imported, std::move(found.tensors), [](const std::string& name) { return Source{.name = name}; });
  return imported;
}

Imported import_script(const Checkpoint& file, const ImportOptions& options) {
  return import_names(file, options, true);
}

Imported import_state(const Checkpoint& file, const ImportOptions& options) {
  return import_names(file, options, false);
}

}  // namespace

std::vector<Importer> openai_clip_importers() {
  return {{"clip", kScriptFormat, recognises_script, import_script},
          {"clip", "OpenAI CLIP (state dict) or open_clip", recognises_state, import_state}};
}

}  // namespace styleclip::importing
