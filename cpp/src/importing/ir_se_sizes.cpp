// See ir_se_sizes.h.
#include "importing/ir_se_sizes.h"

#include "importing/conversion.h"

namespace styleclip::importing {

nlohmann::json trunk_sizes(const TensorMap& tensors) {
  const std::int64_t inputs = size_of(tensors, "input_layer.0.weight", 1);
  if (inputs == 6) {
    refuse("'input_layer.0.weight' takes 6 channels: a ReStyle encoder, which reads a picture and its reconstruction.",
           "Give an e4e or pSp encoder, which reads the picture alone.");
  }
  if (inputs != 3) {
    refuse("'input_layer.0.weight' takes " + std::to_string(inputs) + " channels, not a picture's 3.",
           "Give a network that reads RGB pictures.");
  }
  std::vector<std::int64_t> blocks, channels;
  for (std::int64_t i = 0;; ++i) {
    const std::string name = "body." + std::to_string(i) + ".res_layer.3.weight";
    if (!tensors.contains(name)) break;
    const std::int64_t width = size_of(tensors, name, 0);
    if (width < 1) refuse("'" + name + "' is empty.", "Give a whole checkpoint.");
    if (channels.empty() || channels.back() != width) {
      channels.push_back(width);
      blocks.push_back(0);
    }
    ++blocks.back();
  }
  if (channels.size() != 4) {
    refuse("'body.*' has " + std::to_string(channels.size()) + " widths of blocks, not 4.",
           "Give an IR or IR-SE network of TreB1eN's or face.evoLVe's form.");
  }
  const bool excited = tensors.contains("body.0.res_layer.5.fc1.weight");
  std::int64_t reduction = 0;
  if (excited) {
    const std::int64_t narrow = size_of(tensors, "body.0.res_layer.5.fc1.weight", 0);
    if (narrow < 1) refuse("'body.0.res_layer.5.fc1.weight' is empty.", "Give a whole checkpoint.");
    reduction = channels[0] / narrow;
  }
  return {{"blocks", blocks}, {"channels", channels}, {"reduction", reduction}};
}

}  // namespace styleclip::importing
