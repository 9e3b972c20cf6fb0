// What names in a pickle may do. A short list of them makes numbers; everything else stays an inert object, and names
// that only an attack would call refuse the file.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/reading.h"

namespace styleclip::checkpoint {

/// Where a call happens: `nesting` counts streams inside byte strings.
struct CallSite {
  Reading& reading;
  std::string where;
  unsigned nesting;
};

/// Whether a full name ("os.system", "torch.serialization.os.system") can only be an attack.
bool is_attack(std::string_view name);

/// The value that calling a Global with a Tuple of arguments makes; none for a name that is not on the list. Throws Flaw.
std::optional<Value> call_global(const CallSite& site, const Value& global, const Value& arguments);

/// BUILD on an array that numpy's _reconstruct made: fills it in place. False when the node is no such array, or one
/// that holds no numbers (it then stays an Object).
bool build_array(Reading& reading, const Value& object, const Value& state);

// Parts of call_global, a source file each.
std::optional<Value> call_torch(const CallSite& site, const std::string& name, const Items& arguments);
std::optional<Value> call_numpy(const CallSite& site, const std::string& name, const Items& arguments);

/// The element type of "torch.FloatStorage" or "torch.cuda.HalfStorage"; none for untyped ones. Throws Flaw for
/// quantized and unknown ones.
std::optional<at::ScalarType> storage_type(const std::string& name);

/// A Tuple or List of Ints as sizes. Throws Flaw.
std::vector<std::int64_t> integers_of(const Value& value);

}  // namespace styleclip::checkpoint
