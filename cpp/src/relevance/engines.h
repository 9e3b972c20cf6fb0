// The engines by name; each stands in a file of its own.
#pragma once

#include <memory>

#include "relevance/engine.h"

namespace styleclip {

std::unique_ptr<SweepEngine> make_reference_engine(const SweepTask& task);
/// The reference engine where the generator cannot be taken apart.
std::unique_ptr<SweepEngine> make_exact_engine(const SweepTask& task);
/// Argument where the generator cannot be taken apart.
std::unique_ptr<SweepEngine> make_stop_at_engine(const SweepTask& task);
std::unique_ptr<SweepEngine> make_adaptive_engine(const SweepTask& task);
/// Argument where the pictures go to CLIP through 8-bit roundings.
std::unique_ptr<SweepEngine> make_gradient_engine(const SweepTask& task);

}  // namespace styleclip
