// `styleclip import`: a checkpoint of the field becomes an archive. Two steps, so that whoever imports sees what the file
// is (a CLIP's vocabulary, say, to which a tokenizer has to fit) before anything is written.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "importing/importer.h"
#include "styleclip/run.h"

namespace styleclip::importing {

/// A model that a file holds.
struct Part {
  std::string kind;    // "generator", "clip", "identity", "encoder", "mapper"
  std::string format;  // "rosinality", ...
};

/// Every part of a checkpoint, in the order the importers are asked.
std::vector<Part> parts_of(const Checkpoint& file);

/// What a file of no known format holds, in a few words: "a dictionary with 'epoch', 'model' and 3 more".
std::string outline(const Value& root);

/// A checkpoint that was read and understood. Its tensors are views of the file, which must stay as it is meanwhile.
struct Found {
  Checkpoint file;
  Part part;                 // what is imported
  std::vector<Part> others;  // what else the file holds
  Imported imported;
};

/// Reads `path` and takes from it the part of `kind` ("auto": the first that is recognised).
///
/// Throws what Checkpoint::read does; FormatUnknown when nothing is recognised, telling what the file holds; ModelKind
/// when it holds other kinds; ModelMismatch from the importer; Argument for a kind that does not exist.
std::unique_ptr<Found> find_model(const std::string& path, const std::string& kind, const ImportOptions& options,
                                  const RunContext& run);

struct WriteOptions {
  std::string storage_dtype = "source";
  std::string licence = "unknown";
  std::string tokenizer_json;  // clip
};

struct Written {
  std::int64_t layers = 0;      // layers_of
  std::int64_t parameters = 0;  // trained numbers
  std::int64_t bytes = 0;       // of the archive
  std::string sha256;           // of the archive
  std::string description_json;
};

/// Writes the archive, atomically. Peak memory beside the mapped file: the largest tensor, and what is converted.
Written write_model(const Found& found, const WriteOptions& options, const std::string& out, const RunContext& run);

/// A model's size as people count it, from its description: style layers of a generator, blocks of both towers of a
/// CLIP, residual blocks of an identity network or encoder, fully connected layers of a mapper.
std::int64_t layers_of(std::string_view description_json);

}  // namespace styleclip::importing
