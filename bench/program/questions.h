// The questions; each stands in a file of its own and answers with one object.
#pragma once

#include <nlohmann/json.hpp>

#include "arguments.h"

namespace styleclip::bench {

nlohmann::ordered_json answer_methods(const Arguments& arguments);
nlohmann::ordered_json answer_sweep(const Arguments& arguments);
nlohmann::ordered_json answer_screened(const Arguments& arguments);
nlohmann::ordered_json answer_stages(const Arguments& arguments);
nlohmann::ordered_json answer_scaling(const Arguments& arguments);
nlohmann::ordered_json answer_optimize(const Arguments& arguments);
nlohmann::ordered_json answer_operators(const Arguments& arguments);
nlohmann::ordered_json answer_ceilings(const Arguments& arguments);
/// Reads requests from stdin and answers on stdout until stdin ends.
void take_turns(const Arguments& arguments);

}  // namespace styleclip::bench
