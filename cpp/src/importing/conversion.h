// What the importers of this folder share: finding parts of a checkpoint's tree, and moving its tensors under the names
// of a blueprint, so that whatever is missing, left over or of the wrong shape is named as the file names it.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "importing/importer.h"

namespace styleclip::importing {

/// Throws ModelMismatch.
[[noreturn]] void refuse(const std::string& message, const std::string& remedy);

/// The tensors whose names begin with `prefix`, without it. With an empty prefix, all of them.
TensorMap with_prefix(const TensorMap& tensors, std::string_view prefix);

/// Size of a tensor's dimension. Throws ModelMismatch naming the tensor when it is missing or has fewer dimensions.
std::int64_t size_of(const TensorMap& tensors, const std::string& name, std::int64_t dimension);

/// The value under one of these keys, the first there is; nullptr for none, and for a value that is no Dict or Object.
const Value* find_any(const Value& value, std::initializer_list<const char*> keys);

/// A number, truth value or text of a Dict or an Object's state; nullopt where there is none of that kind.
std::optional<double> number_field(const Value& value, const char* key);
std::optional<std::string> text_field(const Value& value, const char* key);

/// Keys of a Dict but those named.
std::vector<std::string> other_keys(const Value& dict, std::initializer_list<const char*> used);

/// "encoder.*": the first parts of the names of a state dict that do not begin with `prefix`.
std::vector<std::string> other_parts(const Value& dict, std::string_view prefix);

/// An import that take_tensors is to fill.
Imported begin_import(const char* architecture, const char* format, nlohmann::json config);

/// Where a tensor of a blueprint comes from.
struct Source {
  std::string name;  // in the file; "" when the file has none
  /// Dimensions that the file's tensor must have for `change`; -1: any.
  std::int64_t dimensions = -1;
  std::function<at::Tensor(const at::Tensor&)> change = {};  // none: as it is
};

/// Fills imported.weights with the blueprint's tensors out of `tensors`, those left alone that are there already. `source`
/// says where each comes from; `prefix` is what the file has before the names of `tensors`. Throws ModelMismatch naming, as
/// the file does, what is unexpected, missing or of a wrong shape.
void take_tensors(Imported& imported, TensorMap tensors, const std::function<Source(const std::string& name)>& source,
                  const std::string& prefix = "");

/// A conv_clamp that is a positive number; JSON could not hold another. Throws ModelMismatch.
double checked_clamp(double clamp);

/// NVIDIA's FIR filter as a kernel of four by four taps with a gain of 4: [t, t] normalised, or [t] still to be squared
/// and normalised; t of 1 to 4, shorter ones padded so that pictures keep their place. Throws ModelMismatch naming `name`.
at::Tensor up_kernel(const at::Tensor& filter, const std::string& name);

}  // namespace styleclip::importing
