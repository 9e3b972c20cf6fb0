// Unrolls TorchScript texts; see script_text.h.
#include "models/script_text.h"

#include <sstream>
#include <string_view>

#include "embedded_scripts.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

[[noreturn]] void broken(const std::string& name, const std::string& what) {
  throw Error(ErrorCode::Internal, "TorchScript text '" + name + "': " + what + ".", "Please report this.");
}

std::string fill(const std::string& name, const std::string& line, const ScriptRow& row) {
  std::string out;
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t open = line.find('{', at);
    out += line.substr(at, open - at);
    if (open == std::string::npos) break;
    const std::size_t close = line.find('}', open);
    if (close == std::string::npos) broken(name, "an open brace in: " + line);
    const auto value = row.find(line.substr(open + 1, close - open - 1));
    if (value == row.end()) broken(name, "no value for a placeholder in: " + line);
    out += value->second;
    at = close + 1;
  }
  return out + "\n";
}

}  // namespace

std::string script_text(const std::string& name, const ScriptRows& rows) {
  const std::string_view embedded = embedded_script("torchscript/" + name);
  if (embedded.empty()) broken(name, "no such text");
  const auto outside = rows.find("");
  const ScriptRow plain = outside == rows.end() ? ScriptRow{} : outside->second.at(0);
  std::istringstream lines{std::string(embedded)};
  std::string out, line, loop;
  std::vector<std::string> body;
  while (std::getline(lines, line)) {
    if (line.starts_with("#for ")) {
      loop = line.substr(5);
      if (!rows.contains(loop)) broken(name, "no rows '" + loop + "'");
    } else if (line == "#end") {
      for (const ScriptRow& row : rows.at(loop)) {
        for (const std::string& one : body) out += fill(name, one, row);
      }
      loop.clear();
      body.clear();
    } else if (!loop.empty()) {
      body.push_back(line);
    } else if (!line.starts_with("#")) {
      out += fill(name, line, plain);
    }
  }
  if (!loop.empty()) broken(name, "#for without #end");
  return out;
}

}  // namespace styleclip
