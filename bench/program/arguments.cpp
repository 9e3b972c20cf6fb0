// Every option belongs to every question: those that make no sense for one are ignored there.
#include "arguments.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "styleclip/error.h"

namespace styleclip::bench {
namespace {

struct Option {
  const char* name;
  const char* fallback;
  const char* meaning;
};

constexpr std::array kOptions = {
    Option{"generator", "", "the generator's archive; none: one of random weights, see --size"},
    Option{"clip", "", "CLIP's archive; none: one of random weights, see --clip-preset"},
    Option{"identity", "", "optimize: the identity network's archive"},
    Option{"latents", "", "optimize: a file of float32 numbers [problems, rows, width]"},
    Option{"text", "", "optimize: one of [embedding]"},
    Option{"size", "1024", "of the random generator: config-f (channel base 32768, at most 512 channels)"},
    Option{"channel-max", "512", "of the random generator, for small trials"},
    Option{"clip-preset", "ViT-B/32", "of the random CLIP"},
    Option{"device", "cpu", "cpu or cuda"},
    Option{"cuda-library", "", "styleclip_cuda.so, needed for cuda"},
    Option{"threads", "0", "0: libtorch's choice"},
    Option{"methods", "", "methods and precisions: reference,exact,exact/bfloat16,…; none: all that there are"},
    Option{"images", "2", "sample pictures"},
    Option{"layers", "conv", "style layers: conv, torgb, all, or names"},
    Option{"channels", "0", "style channels, spread evenly over the layers; 0: all"},
    Option{"check-channels", "0", "of the comparison with the reference, which is slow; 0: all that are swept"},
    Option{"check-images", "0", "of that comparison; 0: as many as --images"},
    Option{"keep", "100", "screened: channels wanted of a direction"},
    Option{"beta", "", "screened: in their place, the least |relevance| of those wanted"},
    Option{"margin", "3", "screened: candidates for each channel wanted"},
    Option{"probes", "0", "screened: random directions a picture beside the text; 0: chosen"},
    Option{"confidence", "0.99", "screened: with which a candidate that is given up is not wanted"},
    Option{"directions", "3", "screened: how many"},
    Option{"exact-images", "2", "screened: pictures of the exact sweep beside it; 0: none"},
    Option{"batch", "0", "pictures a forward; 0: chosen"},
    Option{"memory", "0", "bytes of working memory; 0: a quarter of the free memory"},
    Option{"turns", "3", "of every contender"},
    Option{"samples", "2000", "for the statistics of the styles"},
    Option{"by", "", "scaling: channels, images, batch, threads or resolution"},
    Option{"steps", "", "scaling: the values, between commas; optimize: how many"},
    Option{"json", "", "write the result here, instead of stdout"},
};

constexpr std::array kQuestions = {
    Option{"methods", "", "rows of every contender against the reference, then pictures a second"},
    Option{"sweep", "", "one sweep of every contender and nothing else, for a sanitizer or a profiler"},
    Option{"screened", "", "channels of random text directions by screening, beside an exact sweep of all channels"},
    Option{"stages", "", "seconds, rate and distance from the arithmetic floor of each stage of the exact sweep"},
    Option{"scaling", "", "pictures a second by --by over --steps"},
    Option{"optimize", "", "seconds and memory of a step of latent optimisation, and its losses"},
    Option{"operators", "", "operators with gradients against plain compositions: time, allocations, peak memory"},
    Option{"ceilings", "", "matrix products and a copy"},
    Option{"turns", "", "requests from stdin, a JSON object a line, one answer a line: see turns.cpp"},
};

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::Argument, message, usage()); }

std::int64_t parse_number(const std::string& name, const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) refuse("--" + name + " is '" + text + "', not a whole number.");
  return value;
}

}  // namespace

std::string usage() {
  std::string lines = "styleclip_bench QUESTION [--option value]…\nQuestions:\n";
  for (const Option& question : kQuestions) lines += std::string("  ") + question.name + ": " + question.meaning + "\n";
  lines += "Options:\n";
  for (const Option& option : kOptions) {
    lines += std::string("  --") + option.name + " [" + option.fallback + "]  " + option.meaning + "\n";
  }
  return lines;
}

Arguments::Arguments(int count, char** words) {
  for (const Option& option : kOptions) options_[option.name] = option.fallback;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word.rfind("--", 0) != 0) {
      if (!question_.empty()) refuse("One question at a time: " + question_ + " or " + word + "?");
      question_ = word;
    } else if (options_.count(word.substr(2)) == 0) {
      refuse("There is no option " + word + ".");
    } else if (i + 1 >= count) {
      refuse(word + " needs a value.");
    } else {
      options_[word.substr(2)] = words[++i];
    }
  }
  const bool known = std::any_of(kQuestions.begin(), kQuestions.end(),
                                 [&](const Option& question) { return question_ == question.name; });
  if (!known) refuse(question_.empty() ? "Which question?" : "There is no question '" + question_ + "'.");
}

std::int64_t Arguments::number(const std::string& name) const { return parse_number(name, text(name)); }

double Arguments::decimal(const std::string& name) const {
  const std::string& word = text(name);
  double value = 0;
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, value);
  if (error != std::errc() || stop != end) refuse("--" + name + " is '" + word + "', not a number.");
  return value;
}

std::vector<std::string> Arguments::list(const std::string& name) const {
  std::vector<std::string> words;
  const std::string& all = text(name);
  for (std::size_t start = 0; start < all.size();) {
    const std::size_t end = std::min(all.find(',', start), all.size());
    if (end > start) words.push_back(all.substr(start, end - start));
    start = end + 1;
  }
  return words;
}

std::vector<std::int64_t> Arguments::numbers(const std::string& name) const {
  std::vector<std::int64_t> values;
  for (const std::string& word : list(name)) values.push_back(parse_number(name, word));
  return values;
}

}  // namespace styleclip::bench
