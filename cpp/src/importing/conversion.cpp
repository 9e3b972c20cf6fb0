// See conversion.h.
#include "importing/conversion.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ger.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "models/spec.h"
#include "models/tensors.h"
#include "styleclip/error.h"

namespace styleclip::importing {

void refuse(const std::string& message, const std::string& remedy) {
  throw Error(ErrorCode::ModelMismatch, message, remedy);
}

TensorMap with_prefix(const TensorMap& tensors, std::string_view prefix) {
  TensorMap found;
  for (auto at = tensors.lower_bound(std::string(prefix)); at != tensors.end() && at->first.starts_with(prefix); ++at) {
    found.emplace(at->first.substr(prefix.size()), at->second);
  }
  return found;
}

std::int64_t size_of(const TensorMap& tensors, const std::string& name, std::int64_t dimension) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    refuse("The checkpoint has no '" + name + "'.", "Give a whole checkpoint of this kind of model.");
  }
  if (found->second.dim() <= dimension) {
    refuse("'" + name + "' has shape " + shape_text(found->second.sizes()) + ", too few dimensions.",
           "Give a checkpoint of this kind of model.");
  }
  return found->second.size(dimension);
}

const Value* find_any(const Value& value, std::initializer_list<const char*> keys) {
  if (!value.is(Value::Kind::Dict) && !value.is(Value::Kind::Object)) return nullptr;
  for (const char* key : keys) {
    if (const Value* found = value.find(key)) return found;
  }
  return nullptr;
}

std::optional<double> number_field(const Value& value, const char* key) {
  const Value* found = find_any(value, {key});
  if (found == nullptr) return std::nullopt;
  using Kind = Value::Kind;
  if (found->is(Kind::Tensor) && found->tensor().numel() == 1) return found->tensor().to(at::kDouble).item<double>();
  const bool number = found->is(Kind::Bool) || found->is(Kind::Int) || found->is(Kind::Float);
  return number ? std::optional(found->number()) : std::nullopt;
}

std::optional<std::string> text_field(const Value& value, const char* key) {
  const Value* found = find_any(value, {key});
  if (found == nullptr || !found->is(Value::Kind::String)) return std::nullopt;
  return found->text();
}

std::vector<std::string> other_keys(const Value& dict, std::initializer_list<const char*> used) {
  std::vector<std::string> keys;
  if (!dict.is(Value::Kind::Dict)) return keys;
  for (const auto& [key, value] : dict.entries()) {
    if (!key.is(Value::Kind::String)) continue;
    if (std::find(used.begin(), used.end(), key.text()) == used.end()) keys.push_back(key.text());
  }
  return keys;
}

Imported begin_import(const char* architecture, const char* format, nlohmann::json config) {
  Imported imported;
  imported.architecture = architecture;
  imported.format = format;
  imported.config = std::move(config);
  return imported;
}

std::vector<std::string> other_parts(const Value& dict, std::string_view prefix) {
  std::set<std::string> parts;
  for (const auto& [key, value] : dict.entries()) {
    if (!key.is(Value::Kind::String) || key.text().starts_with(prefix)) continue;
    parts.insert(key.text().substr(0, key.text().find('.')) + ".*");
  }
  return {parts.begin(), parts.end()};
}

namespace {

std::string names_text(const std::vector<std::string>& names, std::size_t most) {
  std::string text;
  for (std::size_t i = 0; i < std::min(most, names.size()); ++i) text += " '" + names[i] + "'";
  if (names.size() > most) text += " and " + std::to_string(names.size() - most) + " more";
  return text;
}

void check_complete(const Imported& imported, const std::vector<std::string>& unexpected,
                    const std::vector<std::string>& missing) {
  if (unexpected.empty() && missing.empty()) return;
  std::string text = "This is no whole " + imported.format + " checkpoint:";
  if (!unexpected.empty()) text += " unexpected" + names_text(unexpected, 1);
  if (!missing.empty()) text += (unexpected.empty() ? " missing" : "; missing") + names_text(missing, 5);
  refuse(text + ".", "Give the checkpoint as its repository saved it; docs/models.md lists what can be imported.");
}

[[noreturn]] void refuse_shape(const std::string& name, const at::Tensor& given, const std::string& wanted) {
  refuse("'" + name + "' has shape " + shape_text(given.sizes()) + wanted,
         "Its sizes do not go with the checkpoint's other tensors: give it as its repository saved it.");
}

}  // namespace

void take_tensors(Imported& imported, TensorMap tensors, const std::function<Source(const std::string& name)>& source,
                  const std::string& prefix) {
  const Blueprint blueprint = make_blueprint(imported.architecture, imported.config.dump());
  std::vector<std::string> unexpected, missing;
  for (const TensorSpec& spec : blueprint.tensors) {
    if (imported.weights.contains(spec.name)) continue;
    const Source from = source(spec.name);
    const auto given = from.name.empty() ? tensors.end() : tensors.find(from.name);
    if (given == tensors.end()) {
      if (!spec.optional) missing.push_back(prefix + (from.name.empty() ? spec.name : from.name));
      continue;
    }
    if (from.dimensions >= 0 && given->second.dim() != from.dimensions) {
      refuse_shape(prefix + from.name, given->second, ", not " + std::to_string(from.dimensions) + " dimensions.");
    }
    const at::Tensor tensor = from.change ? from.change(given->second) : given->second;
    // make_archive takes a latent average in several forms.
    if (spec.name != "latent_avg" && tensor.sizes() != at::IntArrayRef(spec.shape)) {
      refuse_shape(prefix + from.name, given->second,
                   "; as '" + spec.name + "' it would have to give " + shape_text(spec.shape) + ", not " +
                       shape_text(tensor.sizes()) + ".");
    }
    imported.weights.emplace(spec.name, tensor);
    tensors.erase(given);
  }
  for (const auto& [name, tensor] : tensors) unexpected.push_back(prefix + name);
  check_complete(imported, unexpected, missing);
}

double checked_clamp(double clamp) {
  if (!std::isfinite(clamp) || clamp <= 0) refuse("'conv_clamp' is no positive number.", "The file is damaged.");
  return clamp;
}

at::Tensor up_kernel(const at::Tensor& filter, const std::string& name) {
  constexpr std::int64_t kTaps = 4;
  constexpr double kGain = 4;  // of up-sampling by two in both directions
  const std::int64_t taps = filter.dim() > 0 ? filter.size(-1) : 0;
  const bool square = filter.dim() == 1 || (filter.dim() == 2 && filter.size(0) == taps);
  if (!square || taps < 1 || taps > kTaps) {
    refuse("'" + name + "' is a filter of shape " + shape_text(filter.sizes()) + ": only 1 to 4 taps are supported.",
           "Networks with other resampling filters cannot be imported.");
  }
  at::Tensor taps2d = filter.to(at::kFloat);
  if (filter.dim() == 1) {
    taps2d = at::ger(taps2d, taps2d);
    taps2d = taps2d / taps2d.sum();
  }
  // Both codes up-sample with pads (t + 1) / 2 before and (t - 2) / 2 after, t the number of taps.
  const std::int64_t first = (kTaps + 1 - taps) / 2;
  at::Tensor kernel = at::zeros({kTaps, kTaps});
  kernel.narrow(0, first, taps).narrow(1, first, taps).copy_(taps2d * kGain);
  return kernel;
}

}  // namespace styleclip::importing
