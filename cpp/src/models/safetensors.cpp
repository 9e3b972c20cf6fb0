// Reads .safetensors into owned tensors, for those who keep them longer than the file.
#include <ATen/ops/empty.h>

#include <cstring>

#include "checkpoint/mapping.h"
#include "checkpoint/safetensors.h"
#include "styleclip/error.h"
#include "styleclip/models.h"

namespace styleclip {

std::map<std::string, at::Tensor> read_safetensors(const std::string& path) {
  const checkpoint::Mapping file(path);
  std::map<std::string, at::Tensor> tensors;
  try {
    for (const checkpoint::SafetensorsEntry& entry : checkpoint::read_safetensors_header(file.bytes()).entries) {
      at::Tensor tensor = at::empty(entry.sizes, entry.type);
      if (tensor.nbytes() > 0) std::memcpy(tensor.mutable_data_ptr(), file.bytes().data + entry.begin, tensor.nbytes());
      tensors[entry.name] = std::move(tensor);
    }
  } catch (const checkpoint::Flaw& flaw) {
    throw Error(flaw.code, path + " is no sound .safetensors file: " + flaw.what + ".", "Get or make the file again.");
  }
  return tensors;
}

}  // namespace styleclip
