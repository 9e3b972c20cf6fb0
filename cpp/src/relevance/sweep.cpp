// The methods of the sweep by name. Each is one function of the same signature, in a file of its own; a faster one is
// added by a line in the table.
#include <algorithm>
#include <array>

#include "styleclip/error.h"
#include "styleclip/relevance.h"

namespace styleclip {
namespace {

using SweepFunction = RelevanceRows (*)(Generator&, Clip&, const StyleStatistics&, const SweepOptions&,
                                        const RunContext&);
struct Method {
  const char* name;
  SweepFunction run;
};
constexpr std::array kMethods = {Method{"reference", &sweep_reference}, Method{"exact", &sweep_exact}};

}  // namespace

std::vector<std::string> sweep_methods() {
  std::vector<std::string> names;
  for (const Method& method : kMethods) names.emplace_back(method.name);
  return names;
}

RelevanceRows sweep(const std::string& method, Generator& generator, Clip& clip, const StyleStatistics& statistics,
                    const SweepOptions& options, const RunContext& run) {
  const auto found =
      std::find_if(kMethods.begin(), kMethods.end(), [&](const Method& known) { return method == known.name; });
  if (found != kMethods.end()) return found->run(generator, clip, statistics, options, run);

  std::string names;
  for (const Method& known : kMethods) names += (names.empty() ? "" : ", ") + std::string(known.name);
  throw Error(ErrorCode::Argument, "There is no sweep method \"" + method + "\".", "Use one of: " + names + ".");
}

}  // namespace styleclip
