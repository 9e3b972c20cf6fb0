// The implementations of styleclip::perturb_channels (schema and meaning: styleclip/ops.h). NaN and infinity in a plane
// reach the pixels whose 3x3 window holds them, in their own channel's pictures and no other.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace styleclip {

inline constexpr char kPerturbChannels[] = "perturb_channels";
inline constexpr char kPerturbChannelsSchema[] =
    "perturb_channels(Tensor planes, Tensor taps, Tensor linear, Tensor steps, Tensor gains, Tensor bias, "
    "Tensor? noise, float limit, Tensor(a!) y) -> ()";
using PerturbChannelsSignature = void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                      const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, double,
                                      at::Tensor&);

/// Throws Error Shape or Argument when the arguments do not fit one another.
void check_perturb_channels(const at::Tensor& planes, const at::Tensor& taps, const at::Tensor& linear,
                            const at::Tensor& steps, const at::Tensor& gains, const at::Tensor& bias,
                            const at::Tensor& noise, double limit, const at::Tensor& y);

/// Plain tensor algebra in float64, on any device.
void perturb_channels_reference(const at::Tensor& planes, const at::Tensor& taps, const at::Tensor& linear,
                                const at::Tensor& steps, const at::Tensor& gains, const at::Tensor& bias,
                                const at::Tensor& noise, double limit, at::Tensor& y);
/// Both signs in one pass over the pixels, rows of all pictures in parallel.
void perturb_channels_cpu(const at::Tensor& planes, const at::Tensor& taps, const at::Tensor& linear,
                          const at::Tensor& steps, const at::Tensor& gains, const at::Tensor& bias,
                          const at::Tensor& noise, double limit, at::Tensor& y);

}  // namespace styleclip
