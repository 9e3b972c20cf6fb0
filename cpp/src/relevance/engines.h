// The engines by name; each stands in a file of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "relevance/engine.h"

namespace styleclip {

/// How the exact engine paints.
enum class ExactWay {
  Crew,     // every thread of a CPU takes chunks of its own, as large as its cache
  Batches,  // one thread, all of a batch at once, by libtorch's convolutions: on any device
};

/// `beside`, here and below: bytes that its caller holds while it runs, beyond the sums of all channels.
std::unique_ptr<SweepEngine> make_reference_engine(const SweepTask& task, std::int64_t beside = 0);
/// The reference engine where the generator cannot be taken apart.
/// `way`: where not given, what the models' device is fastest with.
std::unique_ptr<SweepEngine> make_exact_engine(const SweepTask& task, std::int64_t beside = 0,
                                               std::optional<ExactWay> way = std::nullopt);
/// Argument where the generator cannot be taken apart.
std::unique_ptr<SweepEngine> make_stop_at_engine(const SweepTask& task);
std::unique_ptr<SweepEngine> make_adaptive_engine(const SweepTask& task);
/// Argument where the pictures go to CLIP through 8-bit roundings.
std::unique_ptr<SweepEngine> make_gradient_engine(const SweepTask& task);

}  // namespace styleclip
