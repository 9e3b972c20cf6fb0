// The registry of importers, apart from import.cpp so that a fuzzer of the readers need not link what writes archives.
#include "importing/importer.h"

namespace styleclip::importing {

std::vector<Importer> importers() {
  std::vector<Importer> all;
  // Files with several parts first, by the part that they were trained for; a decoder inside is rosinality's.
  for (const auto& some :
       {mapper_importers(), encoder_importers(), nvidia_torch_importers(), nvidia_tensorflow_importers(),
        rosinality_importers(), openai_clip_importers(), hugging_face_clip_importers(), identity_importers()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace styleclip::importing
