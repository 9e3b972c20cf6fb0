// The containers that weights come in: each turns a file's bytes into a tree.
#pragma once

#include <map>
#include <string>

#include "checkpoint/reading.h"
#include "checkpoint/zip_archive.h"

namespace styleclip::checkpoint {

/// torch.save since PyTorch 1.6; the entries lie under `folder` ("archive").
Value read_torch_zip(Reading& reading, const ZipArchive& zip, const std::string& folder);

/// torch.save before, a file or a byte string inside another (`nesting`).
Value read_torch_legacy(Reading& reading, const Slice& bytes, const std::string& where, unsigned nesting);
/// Whether a stream begins with the magic number of the above.
bool is_torch_legacy(const Slice& bytes);

/// The parameters and buffers of an unpickled TorchScript module, as one Dict under their full names.
Value flatten_torchscript(Reading& reading, const Value& module);

/// NumPy's array files: one tensor, or a Dict of them.
bool is_npy(const Slice& bytes);
Value read_npy(Reading& reading, const Slice& bytes);
bool is_npz(const ZipArchive& zip);
Value read_npz(Reading& reading, const ZipArchive& zip);

/// A Dict of tensors, in the order of their names.
Value read_safetensors(Reading& reading, const Slice& file, std::map<std::string, std::string>& metadata);

}  // namespace styleclip::checkpoint
