// Reading descriptions: styleclip.json out of the archive, checked field by field before anything else of the file is
// believed.
#include "models/archive.h"

#include <caffe2/serialize/inline_container.h>

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "models/zip_file.h"
#include "styleclip/error.h"
#include "styleclip/runtime.h"

namespace styleclip {
namespace {

using caffe2::serialize::PyTorchStreamReader;

// Everything that the code of our archives may call, in the words of a saved archive.
const std::set<std::string, std::less<>>& own_calls() {
  static const std::set<std::string, std::less<>> calls = {"torch.abs",
                                                           "torch.add",
                                                           "torch.add_",
                                                           "torch.amax",
                                                           "torch.append",
                                                           "torch.argmax",
                                                           "torch.avg_pool2d",
                                                           "torch.batch_norm",
                                                           "torch.bmm",
                                                           "torch.cat",
                                                           "torch.clamp",
                                                           "torch.clamp_",
                                                           "torch.clamp_min",
                                                           "torch.contiguous",
                                                           "torch.conv2d",
                                                           "torch.conv_transpose2d",
                                                           "torch.div",
                                                           "torch.embedding",
                                                           "torch.eq",
                                                           "torch.expand",
                                                           "torch.flatten",
                                                           "torch.flip",
                                                           "torch.floordiv",
                                                           "torch.gather",
                                                           "torch.gelu",
                                                           "torch.gt",
                                                           "torch.layer_norm",
                                                           "torch.leaky_relu",
                                                           "torch.leaky_relu_",
                                                           "torch.linear",
                                                           "torch.matmul",
                                                           "torch.mean",
                                                           "torch.mul",
                                                           "torch.mul_",
                                                           "torch.neg",
                                                           "torch.norm",
                                                           "torch.permute",
                                                           "torch.pow",
                                                           "torch.prelu",
                                                           "torch.relu",
                                                           "torch.relu_",
                                                           "torch.repeat",
                                                           "torch.reshape",
                                                           "torch.rsqrt",
                                                           "torch.scaled_dot_product_attention",
                                                           "torch.select",
                                                           "torch.sigmoid",
                                                           "torch.size",
                                                           "torch.slice",
                                                           "torch.square",
                                                           "torch.squeeze",
                                                           "torch.stack",
                                                           "torch.sub",
                                                           "torch.sum",
                                                           "torch.t",
                                                           "torch.to",
                                                           "torch.transpose",
                                                           "torch.unsqueeze",
                                                           "torch.upsample_bilinear2d",
                                                           "torch.view",
                                                           "torch.zeros_like",
                                                           "torch.__not__",
                                                           "annotate",
                                                           "getattr",
                                                           "float",
                                                           "int",
                                                           "bool",
                                                           "unchecked_cast",
                                                           "ops.prim.dtype",
                                                           "ops.prim.requires_grad"};
  return calls;
}

std::string record(PyTorchStreamReader& reader, const std::string& name) {
  if (!reader.hasRecord(name)) return "";
  auto [data, bytes] = reader.getRecord(name);
  return {static_cast<const char*>(data.get()), bytes};
}

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::FileDamaged, path + " is damaged: " + what + ".", "Get the file again, or make it again.");
}

std::int64_t field(const nlohmann::json& json, const char* outer, const char* inner, const std::string& path) {
  const bool there = json.contains(outer) && json[outer].is_object() && json[outer].contains(inner) &&
                     json[outer][inner].is_number_integer();
  if (!there) damaged(path, std::string("styleclip.json has no whole number '") + outer + "." + inner + "'");
  return json[outer][inner].get<std::int64_t>();
}

std::string text_field(const nlohmann::json& json, const char* name, const std::string& path) {
  if (!json.contains(name) || !json[name].is_string() || json[name].get<std::string>().empty()) {
    damaged(path, std::string("styleclip.json has no '") + name + "'");
  }
  return json[name].get<std::string>();
}

// -1, 0, 1 as "2.9" is below, at or above "2.13"; parts that are no number count as 0.
int compare_versions(const std::string& a, const std::string& b) {
  const char *at = a.c_str(), *bt = b.c_str();
  for (int part = 0; part < 3; ++part) {
    const long x = std::strtol(at, nullptr, 10), y = std::strtol(bt, nullptr, 10);
    if (x != y) return x < y ? -1 : 1;
    const char *next_a = std::strchr(at, '.'), *next_b = std::strchr(bt, '.');
    at = next_a == nullptr ? "0" : next_a + 1;
    bt = next_b == nullptr ? "0" : next_b + 1;
  }
  return 0;
}

// Sets the kind after the description was found readable by this version.
std::string check_description(const std::string& text, const std::string& path) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) damaged(path, "styleclip.json is no JSON object");
  const std::int64_t major = field(json, "format", "major", path), minor = field(json, "format", "minor", path);
  if (major != kFormatMajor || minor > kFormatMinor) {
    const std::string reader = json.value("min_styleclip", std::string("a newer version"));
    throw Error(ErrorCode::FormatVersion,
                path + " has format " + std::to_string(major) + "." + std::to_string(minor) + "; this version reads " +
                    std::to_string(kFormatMajor) + ".0 to " + std::to_string(kFormatMajor) + "." +
                    std::to_string(kFormatMinor) + ".",
                "Use styleclip " + reader + ", which reads it, or one of the same major version after it.");
  }
  const std::string kind = text_field(json, "kind", path), torch = text_field(json, "min_torch", path);
  text_field(json, "licence", path);
  if (kind != "generator" && kind != "clip" && kind != "identity" && kind != "encoder" && kind != "mapper") {
    damaged(path, "styleclip.json names an unknown kind '" + kind + "'");
  }
  if (compare_versions(torch_version(), torch) < 0) {
    throw Error(ErrorCode::LibtorchVersion, path + " needs libtorch " + torch + ", this is " + torch_version() + ".",
                "Install that version with `styleclip setup`.");
  }
  return kind;
}

ArchiveDescription describe(const std::string& path, const std::vector<ZipEntry>& entries, bool check_packed) {
  PyTorchStreamReader reader(path);
  if (!reader.hasRecord("data.pkl") || !reader.hasRecord("constants.pkl")) {
    throw Error(ErrorCode::FormatUnknown, path + " is a zip file, but no TorchScript archive.",
                "A checkpoint saved by torch.save has to be imported first (`styleclip import`).");
  }
  ArchiveDescription description;
  for (const ZipEntry& entry : entries) {
    if (!check_packed || !entry.deflated) continue;
    const std::string text = record(reader, entry.name.substr(entry.name.find('/') + 1));
    if (crc32(0, text.data(), text.size()) != entry.crc) damaged(path, "the checksum of '" + entry.name + "' is wrong");
  }
  description.kind = "module";
  description.json = record(reader, "extra/styleclip.json");
  if (!description.json.empty()) description.kind = check_description(description.json, path);
  if (description.json.empty()) description.json = "{}";
  description.tokenizer = record(reader, "extra/tokenizer.json");
  return description;
}

ArchiveDescription read(const std::string& path, bool check) {
  const std::vector<ZipEntry> entries = read_zip_directory(path);
  if (check) check_zip_entries(path, entries);
  try {
    ArchiveDescription description = describe(path, entries, check);
    description.bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
    return description;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::FileDamaged, path + " is damaged: libtorch cannot read it.",
                "Get the file again, or make it again.", error.what());
  }
}

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.'; }

// The first call in a text of saved TorchScript that is neither ours nor a method of the archive's own classes. There,
// operators are written torch.x(...), ops.x.y(...) or as a bare name, and methods (object).method(...).
std::string foreign_call(std::string_view text) {
  if (text.find("torch.classes") != std::string_view::npos) return "torch.classes";
  for (std::size_t open = text.find('('); open != std::string_view::npos; open = text.find('(', open + 1)) {
    std::size_t start = open;
    while (start > 0 && is_name(text[start - 1])) --start;
    const std::string_view name = text.substr(start, open - start);
    const std::string_view before = text.substr(0, start);
    const bool method = name.starts_with('.') && before.ends_with(')');
    if (name.empty() || method || before.ends_with("def ") || before.ends_with("class ")) continue;
    if (!own_calls().contains(name)) return std::string(name);
  }
  return "";
}

}  // namespace

ArchiveDescription read_description(const std::string& path) { return read(path, false); }

ArchiveDescription open_archive(const std::string& path) { return read(path, true); }

std::string foreign_operator(const std::string& path) {
  PyTorchStreamReader reader(path);
  for (const std::string& name : reader.getAllRecords()) {
    if (!name.starts_with("code/") || !name.ends_with(".py")) continue;
    const std::string found = foreign_call(record(reader, name));
    if (!found.empty()) return found;
  }
  return "";
}

}  // namespace styleclip
