// The ways of sweeping that are compared: a method and a precision, with how many pictures go through at once.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
#include "models.h"
#include "relevance/engine.h"
#include "relevance/sweep_inputs.h"

namespace styleclip::bench {

struct Contender {
  std::string name;  // "exact/bfloat16"
  std::string method;
  Precision precision = Precision::Float32;
  std::int64_t batch = 0;  // 0: chosen
};

/// "exact", "exact/bfloat16", "reference", "reference/1": a method, and after the slash a precision or a batch size.
Contender contender_named(const std::string& name);
/// Those asked for; or every method whose sums add up, "exact" in every precision that the device has.
std::vector<Contender> contenders(const Arguments& arguments);

/// What is swept, the same for every contender.
struct Load {
  std::int64_t images = 2;
  std::vector<std::string> layers = {"conv"};
  std::int64_t channels = 0;  // spread evenly over the layers; 0: all
  std::int64_t batch = 0;     // of contenders that do not say
  std::int64_t memory = 0;
};
Load load_of(const Arguments& arguments);
/// The reference in another order of summation than `load` gives it: picture by picture, or in twos.
Contender other_order(const Load& load);

struct Run {
  double seconds = 0;
  std::int64_t images = 0;  // pictures rendered
  std::int64_t channels = 0;
  std::string implementation;
  std::int64_t batch = 0;
  std::int64_t least_bytes = 0;  // SweepEngine::least_bytes
};
nlohmann::ordered_json to_json(const Run& run);

class Sweeps {
 public:
  explicit Sweeps(Models models) : models_(std::move(models)) {}
  const Models& models() const { return models_; }

  /// One sweep, start to end: sample codes, engine, pictures, sums.
  Run run(const Contender& contender, const Load& load) const;
  /// Differences of the unit embeddings, un-normalised: [channels that move, pictures, dim] float64 on the CPU.
  at::Tensor differences(const Contender& contender, const Load& load) const;
  /// The same by other models, of the same weights in another type, from this generator's codes and statistics.
  at::Tensor differences(const Models& models, const Contender& contender, const Load& load) const;
  /// The flat channels that `load` sweeps.
  SweepInputs inputs(const Contender& contender, const Load& load) const;

  SweepOptions options(const Contender& contender, const Load& load) const;

 private:
  Models models_;
};

/// disagreement() of a contender whose agreement() with the truth [channels, pictures, dim] is given. A half precision that
/// is far off is held against the archives' own code in that type, run by libtorch alone, whose distance is added to the
/// agreement: random weights lose more to rounding than trained ones, whoever rounds.
std::string fault_of(const Contender& contender, nlohmann::ordered_json& agreement, const Sweeps& sweeps,
                     const Arguments& arguments, const Load& load, const at::Tensor& truth);

}  // namespace styleclip::bench
