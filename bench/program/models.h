// What is swept: a generator and a CLIP from files, or of random weights at the field's sizes.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "arguments.h"
#include "styleclip/models.h"
#include "styleclip/relevance.h"

namespace styleclip::bench {

struct Models {
  std::shared_ptr<Generator> generator;
  std::shared_ptr<Clip> clip;
  StyleStatistics statistics;
};

/// Loads both on the device asked for. Random ones are made first, in a temporary folder that is gone afterwards; their
/// noise strengths and biases are not zero, as a trained generator's are not. `dtype`: of weights and arithmetic.
Models load_models(const Arguments& arguments, const std::string& dtype = "float32");
/// A generator of random weights with config-f's channels.
std::shared_ptr<Generator> random_generator(std::int64_t size, std::int64_t channel_max, const LoadOptions& options);

nlohmann::ordered_json describe(const Models& models);

}  // namespace styleclip::bench
