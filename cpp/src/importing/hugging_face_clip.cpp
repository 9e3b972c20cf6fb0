// Hugging Face's CLIPModel (model.safetensors, pytorch_model.bin): the same network under other names, with queries, keys
// and values apart and the two projections the other way round.
#include <ATen/ops/cat.h>

#include <algorithm>
#include <array>
#include <utility>

#include "importing/clip_weights.h"
#include "importing/conversion.h"
#include "styleclip/error.h"

namespace styleclip::importing {
namespace {

constexpr const char* kFormat = "Hugging Face CLIPModel";

struct Tower {
  const char* theirs;  // "text_model."
  const char* ours;    // "" or "visual."
};
constexpr std::array<Tower, 2> kTowers = {{{"text_model.", ""}, {"vision_model.", "visual."}}};

using Names = std::vector<std::pair<std::string, std::string>>;  // theirs, ours

/// Outside of the blocks; the projections are matrices the other way round.
const Names& outer_names() {
  static const Names names = {
      {"text_model.embeddings.token_embedding.weight", "token_embedding.weight"},
      {"text_model.embeddings.position_embedding.weight", "positional_embedding"},
      {"text_model.final_layer_norm.weight", "ln_final.weight"},
      {"text_model.final_layer_norm.bias", "ln_final.bias"},
      {"vision_model.embeddings.class_embedding", "visual.class_embedding"},
      {"vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"},
      {"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"},
      {"vision_model.pre_layrnorm.weight", "visual.ln_pre.weight"},  // sic
      {"vision_model.pre_layrnorm.bias", "visual.ln_pre.bias"},
      {"vision_model.post_layernorm.weight", "visual.ln_post.weight"},
      {"vision_model.post_layernorm.bias", "visual.ln_post.bias"},
      {"logit_scale", "logit_scale"},
  };
  return names;
}
const Names& projections() {
  static const Names names = {{"text_projection.weight", "text_projection"},
                              {"visual_projection.weight", "visual.proj"}};
  return names;
}

/// Within a block, each with weight and bias.
const Names& block_names() {
  static const Names names = {{"layer_norm1.", "ln_1."},
                              {"layer_norm2.", "ln_2."},
                              {"mlp.fc1.", "mlp.c_fc."},
                              {"mlp.fc2.", "mlp.c_proj."},
                              {"self_attn.out_proj.", "attn.out_proj."}};
  return names;
}

const std::vector<std::pair<std::string_view, std::string_view>>& kin() {
  static const std::vector<std::pair<std::string_view, std::string_view>> list = {
      {"logit_bias", "SigLIP"},           {"vision_model.head.", "SigLIP"},
      {"text_model.roberta.", "AltCLIP"}, {"text_model.embeddings.word_embeddings.", "a model with a BERT text tower"},
      {"segmentation", "CLIPSeg"},        {"qformer.", "BLIP-2"},
  };
  return list;
}

bool recognises(const Checkpoint& file) {
  const ClipWeights found = find_clip_weights(file);
  return std::any_of(found.tensors.begin(), found.tensors.end(), [](const auto& entry) {
    return entry.first.starts_with("text_model.embeddings.") || entry.first.starts_with("vision_model.embeddings.");
  });
}

/// Takes tensors out of their names and puts them under ours; what is missing or left over is named at the end.
class Renaming {
 public:
  explicit Renaming(TensorMap tensors) : theirs_(std::move(tensors)) {}

  void move(const std::string& from, const std::string& to, bool transposed = false) {
    const at::Tensor tensor = take(from);
    if (!tensor.defined()) return;
    if (transposed && tensor.dim() != 2) mismatch("'" + from + "' is no matrix");
    ours_[to] = transposed ? tensor.t() : tensor;
  }

  /// Queries, keys and values, below each other.
  void join(const std::string& attention, const std::string& kind, const std::string& to) {
    std::vector<at::Tensor> parts;
    for (const std::string part : {"q_proj.", "k_proj.", "v_proj."}) {
      std::string name = attention;
      name.append(part).append(kind);
      const at::Tensor tensor = take(name);
      if (tensor.defined()) parts.push_back(tensor);
    }
    if (parts.size() < 3) return;
    const bool alike = parts[0].dim() > 0 && std::all_of(parts.begin(), parts.end(), [&](const at::Tensor& part) {
                         return part.sizes() == parts[0].sizes() && part.scalar_type() == parts[0].scalar_type();
                       });
    if (!alike) mismatch("the q_proj, k_proj and v_proj of '" + attention + "' differ in shape or type");
    ours_[to] = at::cat(parts, 0);
  }

  std::int64_t layers(const std::string& prefix) const { return count_numbers(theirs_, prefix); }

  void drop(const std::string& name, std::vector<std::string>& ignored) {
    if (theirs_.erase(name) > 0) ignored.push_back(name);
  }

  TensorMap finish() {
    if (missing_.empty() && theirs_.empty()) return std::move(ours_);
    std::string text;
    if (!theirs_.empty()) {
      text = "unexpected '" + theirs_.begin()->first + "'";
      if (theirs_.size() > 1) text += " and " + std::to_string(theirs_.size() - 1) + " more";
    }
    for (std::size_t i = 0; i < std::min<std::size_t>(missing_.size(), 5); ++i) {
      text += (i > 0 ? " '" : text.empty() ? "missing '" : "; missing '") + missing_[i] + "'";
    }
    if (missing_.size() > 5) text += " and " + std::to_string(missing_.size() - 5) + " more";
    mismatch(text);
  }

 private:
  at::Tensor take(const std::string& name) {
    const auto found = theirs_.find(name);
    if (found == theirs_.end()) {
      missing_.push_back(name);
      return {};
    }
    at::Tensor tensor = found->second;
    theirs_.erase(found);
    return tensor;
  }

  [[noreturn]] static void mismatch(const std::string& what) {
    throw Error(ErrorCode::ModelMismatch, "The weights are not those of a CLIPModel: " + what + ".",
                "Give the one model.safetensors or pytorch_model.bin of a whole CLIPModel, text and picture tower.");
  }

  TensorMap theirs_, ours_;
  std::vector<std::string> missing_;
};

Imported import_model(const Checkpoint& file, const ImportOptions& options) {
  ClipWeights found = find_clip_weights(file);
  refuse_clip_kin(found.tensors, kin());
  const ClipDescription description = describe_clip(options, file.path(), {"config.json"});

  Imported imported;
  imported.architecture = "clip";
  imported.format = kFormat;
  imported.ignored = std::move(found.others);
  imported.notes = description.notes;
  Renaming names(std::move(found.tensors));
  for (const auto& [theirs, ours] : outer_names()) names.move(theirs, ours);
  for (const auto& [theirs, ours] : projections()) names.move(theirs, ours, true);
  for (const Tower& tower : kTowers) {
    names.drop(std::string(tower.theirs) + "embeddings.position_ids", imported.ignored);
    const std::string stack = std::string(tower.theirs) + "encoder.layers.";
    // At least one, so that a file without any names what it lacks.
    const std::int64_t layers = std::max<std::int64_t>(1, names.layers(stack));
    for (std::int64_t i = 0; i < layers; ++i) {
      const std::string from = stack + std::to_string(i) + ".";
      const std::string to = std::string(tower.ours) + "transformer.resblocks." + std::to_string(i) + ".";
      for (const std::string kind : {"weight", "bias"}) {
        for (const auto& [theirs, ours] : block_names()) {
          std::string source = from, target = to;
          source.append(theirs).append(kind);
          target.append(ours).append(kind);
          names.move(source, target);
        }
        std::string joined = to;
        joined.append("attn.in_proj_").append(kind);
        names.join(from + "self_attn.", kind, joined);
      }
    }
  }
  TensorMap ours = names.finish();
  imported.config = clip_config(ours, description, options, "quickgelu", imported.notes);
  take_tensors(imported, std::move(ours), [](const std::string& name) { return Source{.name = name}; });
  return imported;
}

}  // namespace

std::vector<Importer> hugging_face_clip_importers() { return {{"clip", kFormat, recognises, import_model}}; }

}  // namespace styleclip::importing
