// The types of the tensors that the launchers take. The launchers' headers include no device code: the registrations, which
// the host's compiler compiles, include them too.
#pragma once

#include "device.h"

namespace styleclip::cuda {

enum class Element { kFloat32, kFloat16, kBFloat16 };

}  // namespace styleclip::cuda
