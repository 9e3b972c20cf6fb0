// The cases of accumulate_directions, a float64 reference, and the error that each result may have. One table serves
// the kernel on the CPU (test/cuda-host) and the operator on every device (test/selfcheck); it knows neither CUDA nor
// libtorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace styleclip::cases {

enum class Type { kFloat32, kFloat16, kBFloat16 };
const char* name(Type type);
/// The value of the type nearest to x.
float rounded(float x, Type type);

/// How plus and minus lie in memory.
enum class Layout {
  kContiguous,
  kPaddedRows,   // each row followed by three elements that are not its own
  kOffset,       // starts one element after an aligned address
  kImagesFirst,  // image stride above the channel stride
  kSharedMinus,  // minus is one row for all images: image stride 0
};
const char* name(Layout layout);

enum class Content {
  kRandom,       // a pair differs by about a tenth of its length
  kNearlyEqual,  // a pair differs in one element's last bit
  kSomeEqual,    // every third pair is equal: not counted
  kAllEqual,
  kLarge,    // near the type's largest value
  kSmall,    // near the type's smallest value, subnormals included
  kZeroRow,  // one embedding of length 0: no direction, NaN
  kNaN,      // one element is NaN
  kInfinity,
};
const char* name(Content content);

struct Case {
  std::int64_t channels, images, dim;
  Type type = Type::kFloat32;
  Layout layout = Layout::kContiguous;
  Content content = Content::kRandom;
};
std::string name(const Case& which);

/// Which cases of a table.
enum class Table {
  kAll,
  kBounds,   // every way through memory once, for AddressSanitizer, under which the emulator is many times as slow
  kThreads,  // every kernel, type and vector width, small enough for real threads under ThreadSanitizer
};

std::vector<Case> all_cases(Table table = Table::kAll);

/// Values exactly representable in the case's type. plus, minus [channels, images, dim]; sum [channels, dim],
/// magnitude, count [channels]: what is there before, added to.
struct Inputs {
  std::vector<float> plus, minus;
  std::vector<double> sum, magnitude;
  std::vector<std::int64_t> count;
};
Inputs make_inputs(const Case& which, std::uint64_t seed);

struct Results {
  std::vector<double> sum, magnitude;  // [channels, dim], [channels]
  std::vector<std::int64_t> count;     // [channels]
};

/// "" when the results lie within their bounds of the reference, else what is wrong, with the index of the first fault.
/// `roundoff` is that of the arithmetic between reading and summing: 2^-53 for float64.
std::string compare(const Case& which, const Inputs& inputs, const Results& results, double roundoff);

/// The element's place in memory under the layout, and how many elements the memory has; row: channel * images + image.
struct Strides {
  std::int64_t offset, channel, image, elements;
};
Strides strides(const Case& which, bool minus);

}  // namespace styleclip::cases
