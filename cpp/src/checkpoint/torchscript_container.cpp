// A TorchScript archive as a box of weights: its data.pkl is a tree of objects, a module each, whose state is a dict of
// their attributes. The code beside it is not looked at.
#include <utility>
#include <vector>

#include "checkpoint/containers.h"

namespace styleclip::checkpoint {

Value flatten_torchscript(Reading& reading, const Value& module) {
  if (object_of(module) == nullptr) unknown("its root is no module");
  Entries weights;
  // Depth first, in the file's order, which `finish` has found to end.
  std::vector<std::pair<std::string, Value>> todo{{"", module}};
  while (!todo.empty()) {
    const auto [prefix, value] = std::move(todo.back());
    todo.pop_back();
    const Entries* state = held<Entries>(object_of(value)->state);
    if (state == nullptr) continue;  // a class without attributes
    std::vector<std::pair<std::string, Value>> below;
    for (const auto& [key, part] : *state) {
      if (!key.is(Value::Kind::String)) continue;
      std::string name = prefix + key.text();
      if (part.is(Value::Kind::Tensor)) {
        weights.emplace_back(reading.text(std::move(name)), part);
      } else if (object_of(part) != nullptr) {
        reading.count_text(name.size());
        reading.count_values(1);
        below.emplace_back(std::move(name += '.'), part);
      }
    }
    todo.insert(todo.end(), std::make_move_iterator(below.rbegin()), std::make_move_iterator(below.rend()));
  }
  return reading.dict(std::move(weights));
}

}  // namespace styleclip::checkpoint
