// From a checkpoint of the field to what make_archive takes: a configuration, and weights under the blueprint's names.
// One importer a format; import.cpp asks each whether a checkpoint is its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace styleclip::importing {

using checkpoint::Checkpoint;
using checkpoint::Value;
using TensorMap = std::map<std::string, at::Tensor>;

/// What a user may say about a file that does not tell it itself; empty: find out, or assume and say so in `notes`.
struct ImportOptions {
  std::string config_path;  // clip: the model's configuration; default: the one in the file's folder
  std::string activation;   // clip: "quickgelu" or "gelu"
};

struct Imported {
  std::string architecture;  // of make_archive: "stylegan2", "clip", "ir-se", "e4e", "mapper"
  std::string format;        // "rosinality", "NVIDIA stylegan2-ada-pytorch", "OpenAI CLIP (TorchScript)", ...
  nlohmann::json config;     // docs/models.md
  TensorMap weights;         // views of the mapped file where the layout allows it
  /// Names of the file that the archive leaves out on purpose (optimiser state, discriminator, counters).
  std::vector<std::string> ignored;
  /// What was assumed where neither file nor options tell: whole sentences, for people to read.
  std::vector<std::string> notes;
};

struct Importer {
  const char* kind;    // what users call it: "generator", "clip", "identity", "encoder", "mapper"
  const char* format;  // as Imported::format
  /// Whether a checkpoint looks like this format, by a few telling names; cheap.
  bool (*recognises)(const Checkpoint& file);
  /// Throws ModelMismatch naming the first unexpected name and the missing ones, or the wrong shape.
  Imported (*import)(const Checkpoint& file, const ImportOptions& options);
};

/// Every importer, in the order they are asked. The part in a file may be found inside it: an e4e checkpoint is an
/// encoder and (under `decoder.`) a generator; `kind` "auto" takes the first that recognises the file.
std::vector<Importer> importers();

// One function a source file, each giving the importers it defines.
std::vector<Importer> rosinality_importers();         // rosinality .pt; decoder.* of e4e, pSp and mapper checkpoints
std::vector<Importer> nvidia_torch_importers();       // stylegan2-ada-pytorch, StyleGAN2 of the stylegan3 repository
std::vector<Importer> nvidia_tensorflow_importers();  // stylegan2 and ada TensorFlow pickles
std::vector<Importer> openai_clip_importers();        // TorchScript archives and state dicts, open_clip included
std::vector<Importer> hugging_face_clip_importers();
std::vector<Importer> identity_importers();  // IR-SE50 and its kin
std::vector<Importer> encoder_importers();   // e4e, pSp
std::vector<Importer> mapper_importers();    // StyleCLIP's mappers

/// Names and tensors of a state dict (Dict of name -> Tensor); other entries are put into `others`. Throws FormatUnknown
/// when the value is no Dict.
TensorMap state_dict(const Value& value, std::vector<std::string>* others = nullptr);

}  // namespace styleclip::importing
