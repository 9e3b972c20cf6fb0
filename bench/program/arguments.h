// What styleclip_bench was asked: a question and its options, each `--name value`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace styleclip::bench {

class Arguments {
 public:
  /// Throws Argument for words that are no question, no option of it, or an option without a value.
  Arguments(int count, char** words);

  const std::string& question() const { return question_; }
  const std::string& text(const std::string& name) const { return options_.at(name); }
  std::int64_t number(const std::string& name) const;
  double decimal(const std::string& name) const;
  /// Words between commas.
  std::vector<std::string> list(const std::string& name) const;
  std::vector<std::int64_t> numbers(const std::string& name) const;

 private:
  std::string question_;
  std::map<std::string, std::string> options_;
};

/// How to use the program, a line an option.
std::string usage();

}  // namespace styleclip::bench
