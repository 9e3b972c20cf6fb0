// Reads a configuration object field by field: default, type and range checked, the result collected, and fields that
// nobody asked for refused, so that a typing error is not a silent default.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "styleclip/error.h"

namespace styleclip {

class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& config, std::string what);

  bool has(const std::string& name) const { return config_.contains(name); }
  const nlohmann::json& raw(const std::string& name);
  std::int64_t integer(const std::string& name, std::int64_t fallback, std::int64_t least, std::int64_t most);
  double number(const std::string& name, double fallback, double least, double most);
  /// null and a missing field are no number.
  std::optional<double> optional_number(const std::string& name, double least, double most);
  std::string choice(const std::string& name, const std::string& fallback, const std::vector<std::string>& choices);
  /// A list of different choices, at least one.
  std::vector<std::string> subset(const std::string& name, const std::vector<std::string>& fallback,
                                  const std::vector<std::string>& choices);
  /// `count` 0: any number of elements, at least one.
  std::vector<std::int64_t> integers(const std::string& name, const std::vector<std::int64_t>& fallback,
                                     std::size_t count, std::int64_t least, std::int64_t most);
  std::vector<double> numbers(const std::string& name, const std::vector<double>& fallback, std::size_t count,
                              double least, double most);

  /// Every field that was read, defaults included. Throws Argument when the object holds a field that was not.
  nlohmann::ordered_json finish();
  void record(const std::string& name, nlohmann::ordered_json value) { resolved_[name] = std::move(value); }
  void forget(const std::string& name) { resolved_.erase(name); }
  /// A value out of its range; `ErrorCode::Argument` for one of the wrong type.
  [[noreturn]] void refuse(const std::string& name, const std::string& wanted, ErrorCode code = ErrorCode::Range) const;

 private:
  nlohmann::json config_;
  std::string what_;
  std::set<std::string> read_;
  nlohmann::ordered_json resolved_;
};

}  // namespace styleclip
