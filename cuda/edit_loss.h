// The loss of an edit and its gradients (the operator's meaning stands in cpp/include/styleclip/ops.h). Known here:
// pointers, sizes and a stream; no tensor, no libtorch.
#pragma once

#include <cstdint>

#include "device.h"

namespace styleclip::cuda {

/// Device pointers to float32 memory without gaps. Gradients are null where they are not wanted.
struct EditLossParams {
  const float* embedding = nullptr;        // [n, dim]
  const float* text = nullptr;             // [texts, dim], or with text_each [n, texts, dim]
  const float* latents = nullptr;          // [n, numbers]
  const float* source = nullptr;           // the same
  const float* identity = nullptr;         // [n, faces], or null
  const float* source_identity = nullptr;  // the same
  bool text_each = false;
  double lambda_clip = 0, lambda_l2 = 0, lambda_id = 0;
  double share = 1;               // of Σ (latents − source)²: 1 / numbers for the mean
  double* aims = nullptr;         // work memory [1 or n, dim]
  double* face_aims = nullptr;    // work memory [n, faces]
  float* total = nullptr;         // [n]
  float* parts = nullptr;         // [n, 3]
  float* to_embedding = nullptr;  // [n, dim]
  float* to_latents = nullptr;    // [n, numbers]
  float* to_identity = nullptr;   // [n, faces]
  std::int64_t n = 0, dim = 0, texts = 0, numbers = 0, faces = 0;
};

/// Queues the work on `stream` of the current device. cudaErrorInvalidValue for sizes out of range; else the launch's own
/// error. Nothing is launched where there is nothing to do.
cudaError_t launch_edit_loss(const EditLossParams& params, cudaStream_t stream);

}  // namespace styleclip::cuda
