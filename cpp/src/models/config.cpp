// Configuration fields, checked one by one; see config.h.
#include "models/config.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace styleclip {
namespace {

template <typename T>
std::string range_text(T least, T most) {
  return nlohmann::json(least).dump() + " to " + nlohmann::json(most).dump();
}

}  // namespace

ConfigReader::ConfigReader(const nlohmann::json& config, std::string what) : config_(config), what_(std::move(what)) {
  if (!config_.is_object()) {
    throw Error(ErrorCode::Argument, "The configuration of " + what_ + " is no JSON object.",
                "Give an object, {} for the defaults.");
  }
}

void ConfigReader::refuse(const std::string& name, const std::string& wanted, ErrorCode code) const {
  throw Error(code, what_ + ": '" + name + "' is " + config_.value(name, nlohmann::json()).dump() + ".",
              "Give " + wanted + " (docs/models.md).");
}

const nlohmann::json& ConfigReader::raw(const std::string& name) {
  read_.insert(name);
  return config_.at(name);
}

std::int64_t ConfigReader::integer(const std::string& name, std::int64_t fallback, std::int64_t least,
                                   std::int64_t most) {
  std::int64_t value = fallback;
  if (has(name)) {
    const nlohmann::json& given = raw(name);
    if (!given.is_number_integer()) {
      refuse(name, "a whole number from " + range_text(least, most), ErrorCode::Argument);
    }
    value = given.get<std::int64_t>();
    if (value < least || value > most) refuse(name, "a whole number from " + range_text(least, most));
  }
  record(name, value);
  return value;
}

double ConfigReader::number(const std::string& name, double fallback, double least, double most) {
  double value = fallback;
  if (has(name)) {
    const nlohmann::json& given = raw(name);
    if (!given.is_number()) refuse(name, "a number from " + range_text(least, most), ErrorCode::Argument);
    value = given.get<double>();
    if (!(value >= least && value <= most)) refuse(name, "a number from " + range_text(least, most));
  }
  record(name, value);
  return value;
}

std::optional<double> ConfigReader::optional_number(const std::string& name, double least, double most) {
  if (has(name) && !raw(name).is_null()) return number(name, 0, least, most);
  record(name, nullptr);
  return std::nullopt;
}

std::string ConfigReader::choice(const std::string& name, const std::string& fallback,
                                 const std::vector<std::string>& choices) {
  std::string value = fallback;
  if (has(name)) {
    const nlohmann::json& given = raw(name);
    std::string wanted = "one of";
    for (const std::string& one : choices) wanted += " \"" + one + "\"";
    if (!given.is_string()) refuse(name, wanted, ErrorCode::Argument);
    value = given.get<std::string>();
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) refuse(name, wanted);
  }
  record(name, value);
  return value;
}

std::vector<std::string> ConfigReader::subset(const std::string& name, const std::vector<std::string>& fallback,
                                              const std::vector<std::string>& choices) {
  std::vector<std::string> values = fallback;
  if (has(name)) {
    const nlohmann::json& given = raw(name);
    std::string wanted = "a list of some of";
    for (const std::string& one : choices) wanted += " \"" + one + "\"";
    if (!given.is_array()) refuse(name, wanted, ErrorCode::Argument);
    values.clear();
    for (const nlohmann::json& one : given) {
      if (!one.is_string()) refuse(name, wanted, ErrorCode::Argument);
      const auto value = one.get<std::string>();
      const bool known = std::find(choices.begin(), choices.end(), value) != choices.end();
      if (!known || std::find(values.begin(), values.end(), value) != values.end()) refuse(name, wanted);
      values.push_back(value);
    }
    if (values.empty()) refuse(name, wanted);
  }
  record(name, values);
  return values;
}

std::vector<std::int64_t> ConfigReader::integers(const std::string& name, const std::vector<std::int64_t>& fallback,
                                                 std::size_t count, std::int64_t least, std::int64_t most) {
  std::vector<std::int64_t> values = fallback;
  if (has(name)) {
    const nlohmann::json& given = raw(name);
    const std::string wanted = (count > 0 ? std::to_string(count) + " whole numbers" : std::string("whole numbers")) +
                               " from " + range_text(least, most);
    if (!given.is_array()) refuse(name, wanted, ErrorCode::Argument);
    if (given.empty() || (count > 0 && given.size() != count)) refuse(name, wanted);
    values.clear();
    for (const nlohmann::json& one : given) {
      if (!one.is_number_integer()) refuse(name, wanted, ErrorCode::Argument);
      if (one.get<std::int64_t>() < least || one.get<std::int64_t>() > most) refuse(name, wanted);
      values.push_back(one.get<std::int64_t>());
    }
  }
  record(name, values);
  return values;
}

std::vector<double> ConfigReader::numbers(const std::string& name, const std::vector<double>& fallback,
                                          std::size_t count, double least, double most) {
  std::vector<double> values = fallback;
  if (has(name)) {
    const nlohmann::json& given = raw(name);
    const std::string wanted = std::to_string(count) + " numbers from " + range_text(least, most);
    if (!given.is_array()) refuse(name, wanted, ErrorCode::Argument);
    if (given.size() != count) refuse(name, wanted);
    values.clear();
    for (const nlohmann::json& one : given) {
      if (!one.is_number()) refuse(name, wanted, ErrorCode::Argument);
      if (!(one.get<double>() >= least && one.get<double>() <= most)) refuse(name, wanted);
      values.push_back(one.get<double>());
    }
  }
  record(name, values);
  return values;
}

nlohmann::ordered_json ConfigReader::finish() {
  for (const auto& [name, value] : config_.items()) {
    if (!read_.contains(name)) {
      throw Error(ErrorCode::Argument, what_ + " has no configuration field '" + name + "'.",
                  "Look for a typing error; docs/models.md lists the fields.");
    }
  }
  return resolved_;
}

}  // namespace styleclip
