// Sizes of an IR or IR-SE trunk, read off its tensors: what ArcFace files and e4e and pSp encoders have in common.
#pragma once

#include <string>

#include "importing/importer.h"

namespace styleclip::importing {

/// "blocks", "channels" and "reduction" of the configuration from `input_layer.*` and `body.*`. A stage is a run of blocks
/// of one width. Throws ModelMismatch when there are not four, or the input is not a picture of three channels.
nlohmann::json trunk_sizes(const TensorMap& tensors);

}  // namespace styleclip::importing
