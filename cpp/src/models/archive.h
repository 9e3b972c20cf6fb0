// Archives on disk: what one says of itself, and whether it may be opened. Nothing here runs or compiles an archive's
// code.
#pragma once

#include <string>

#include "styleclip/models.h"

namespace styleclip {

/// The format that this version writes; it reads the same major with this minor or an older one.
inline constexpr int kFormatMajor = 1, kFormatMinor = 0;
/// The first version of the package that reads the format above, and the oldest libtorch that does.
inline constexpr const char* kFormatReader = "0.1.0";
inline constexpr const char* kMinTorch = "2.11.0";

/// The description, after a check of the zip's checksums. Throws as read_description, and FileDamaged.
ArchiveDescription open_archive(const std::string& path);

/// Name of the first operator or function in an archive's code that no archive of ours uses; "" when there is none.
/// Archives are code: one that only uses the operators of our own sources can compute, but not touch files or print.
std::string foreign_operator(const std::string& path);

}  // namespace styleclip
