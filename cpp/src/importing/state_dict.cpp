// The first step of every importer: a dict of the file as names and tensors.
#include <utility>

#include "importing/importer.h"
#include "styleclip/error.h"

namespace styleclip::importing {

TensorMap state_dict(const Value& value, std::vector<std::string>* others) {
  if (!value.is(Value::Kind::Dict)) {
    throw Error(ErrorCode::FormatUnknown, "The file holds no dictionary where a model's weights are expected.",
                "Give a checkpoint that stores a state_dict.");
  }
  TensorMap tensors;
  for (const auto& [key, entry] : value.entries()) {
    const bool named = key.is(Value::Kind::String);
    if (named && entry.is(Value::Kind::Tensor)) {
      tensors.insert_or_assign(key.text(), entry.tensor());
    } else if (others != nullptr) {
      others->push_back(named ? key.text() : "(a key that is no text)");
    }
  }
  return tensors;
}

}  // namespace styleclip::importing
