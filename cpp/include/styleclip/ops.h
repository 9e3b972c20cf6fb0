// The custom operators (namespace styleclip::), and the choice between their implementations.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace styleclip {

/// Registers the operators' schemas and CPU implementations, once a process. Another copy of the package that already
/// registered them gives Error AlreadyLoaded, naming both library paths.
void register_ops();

/// Names of implementations compiled in or loaded now: "reference", "cpu", and "cuda" once styleclip_cuda is open.
std::vector<std::string> implementations(const std::string& op);
/// Forces one ("" = choose by device). Process-wide; for tests and benchmarks.
void force_implementation(const std::string& op, const std::string& name);

/// Opens styleclip_cuda.so (after libtorch_cuda.so) by absolute path; throws Device when it cannot.
void load_cuda_library(const std::string& path);

/// Sums of unit differences of unit embeddings (released code, SingleChannel.GetFs):
/// f̂ = f/|f|, d = f̂₊ − f̂₋, sum += d/|d|, magnitude += |d|, count += 1 where |d| > 0.
/// plus, minus [channels, images, dim] float32/float16/bfloat16; sum [channels, dim] float64, magnitude [channels] float64,
/// count [channels] int64; all on one device. Schema:
///   accumulate_directions(Tensor plus, Tensor minus, Tensor(a!) sum, Tensor(b!) magnitude, Tensor(c!) count) -> ()
void accumulate_directions(const at::Tensor& plus, const at::Tensor& minus, at::Tensor& sum, at::Tensor& magnitude,
                           at::Tensor& count);

// What the exact sweep is made of (cpp/src/relevance/exact). Activations y are [n, channels, r, r], channels last, without
// gaps, in float32, float16 or bfloat16; everything else is float32. Arithmetic is float32 whatever y's type. `limit` clamps
// to [-limit, limit]; infinity for none. `noise` [r, r] is undefined for none.

/// A 3x3 convolution of one plane a channel, for both values of the channel's style, as a change of the base's linear part:
///   v[k, p, o] = Σ_t taps[k, t, o] planes[k, p + t]
///   y[s K + k, o, p] = clamp(leaky_relu(gains[s, k, o] (linear[p, o] + steps[s, k] v[k, p, o]) + noise[p] + bias[o], 0.2))
/// planes [K, r + 2, r + 2]: the channel's input with a border of zeros or, on an up layer, what the FIR filter makes of it
/// with zeros between its pixels; taps [K, 9, channels]; linear [r r, channels]; steps [2, K]; gains [2, K, channels], √2
/// included; bias [channels]; y [2 K, channels, r, r], written, plus first. Schema:
///   perturb_channels(Tensor planes, Tensor taps, Tensor linear, Tensor steps, Tensor gains, Tensor bias, Tensor? noise,
///                    float limit, Tensor(a!) y) -> ()
void perturb_channels(const at::Tensor& planes, const at::Tensor& taps, const at::Tensor& linear,
                      const at::Tensor& steps, const at::Tensor& gains, const at::Tensor& bias, const at::Tensor& noise,
                      double limit, at::Tensor& y);

/// y = clamp(leaky_relu(y + noise + bias, 0.2)), in place. Schema:
///   activate(Tensor(a!) y, Tensor bias, Tensor? noise, float limit) -> ()
void activate(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit);

/// The same of an up layer, with its FIR filter before: t [n, channels, r + 1, r + 1] is the transposed convolution's output,
/// channels last, of y's type; y[p] = clamp(leaky_relu(Σ_ij filter[i] filter[j] t[p + (i, j) - 1] + noise[p] + bias, 0.2)),
/// t being zero outside. filter [4], gain of two included. Schema:
///   filter_activate(Tensor t, Tensor filter, Tensor bias, Tensor? noise, float limit, Tensor(a!) y) -> ()
void filter_activate(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& bias, const at::Tensor& noise,
                     double limit, at::Tensor& y);

/// toRGB and its share of CLIP's canvas, without the picture between: rgb = clamp(weight y + rgb_bias, ±rgb_limit),
/// canvas[n, c] += matrix rgb[n, c] matrixᵀ. weight [3, channels], rgb_bias [3], matrix [size, r], a resampling: few entries
/// of a row are not zero, and they are neighbours; undefined for the identity; canvas [n, 3, size, size] float32, contiguous,
/// added to. Schema:
///   add_to_canvas(Tensor y, Tensor weight, Tensor rgb_bias, float rgb_limit, Tensor? matrix, Tensor(a!) canvas) -> ()
void add_to_canvas(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                   const at::Tensor& matrix, at::Tensor& canvas);

/// activate() and then add_to_canvas() in one pass. `keep` false: y is scratch afterwards and need not be written. Schema:
///   activate_to_canvas(Tensor(a!) y, Tensor bias, Tensor? noise, float limit, Tensor weight, Tensor rgb_bias,
///                      float rgb_limit, Tensor? matrix, Tensor(b!) canvas, bool keep) -> ()
void activate_to_canvas(at::Tensor& y, const at::Tensor& bias, const at::Tensor& noise, double limit,
                        const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                        const at::Tensor& matrix, at::Tensor& canvas, bool keep);

/// A same-size layer's convolution and then activate_to_canvas() in one pass, for the resolutions where the output is
/// large and its channels are few: y = clamp(leaky_relu(conv(kernel, x) + noise + bias, 0.2)), 3x3 with a border of
/// zeros, and y's share of the canvas. x [n, inputs, r, r] and kernel [outputs, inputs, 3, 3] of one type, float16 or
/// bfloat16, channels last; inputs and outputs 16, 32, 48 or 64; bias [outputs], weight [3, outputs]; y [n, outputs, r,
/// r] of x's type, written, or undefined: nobody asks for it, and it is never in memory. Schema:
///   convolve_to_canvas(Tensor x, Tensor kernel, Tensor bias, Tensor? noise, float limit, Tensor weight, Tensor rgb_bias,
///                      float rgb_limit, Tensor? matrix, Tensor(a!) canvas, Tensor(b!)? y) -> ()
void convolve_to_canvas(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias, const at::Tensor& noise,
                        double limit, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                        const at::Tensor& matrix, at::Tensor& canvas, const at::Tensor& y);

/// CLIP's input from a canvas in [-1, 1]: ((canvas + 1) / 2 - mean) / deviation, in out's type. canvas [n, 3, size, size]
/// float32; mean, deviation [3]; out [n, 3, size, size], or with patch > 0 [n, (size / patch)², 3 patch patch]: the patches
/// row by row, each as [3, patch, patch], which a ViT's first layer multiplies. Schema:
///   clip_input(Tensor canvas, Tensor mean, Tensor deviation, int patch, Tensor(a!) out) -> ()
void clip_input(const at::Tensor& canvas, const at::Tensor& mean, const at::Tensor& deviation, std::int64_t patch,
                at::Tensor& out);

/// Bits of the fraction of resize_8bit's weights: 32, less 8 of a pixel, less 2 of headroom for negative lobes (Pillow's).
inline constexpr int kResize8bitBits = 22;
/// One pass of an 8-bit resize, rounded and clipped to 8 bits as Pillow's are:
///   result[a, o, i] = clip((2^21 + Σ_t weights[o, t] pixels[a, first[o] + t, i]) >> 22, 0, 255)
/// pixels [outer, length, inner] uint8; first [out] int32, 0 and above; weights [out, taps] int32, Σ_t |weights[o, t]| <= 2^23;
/// taps beyond `length` are left out. -> [outer, out, inner] uint8, the same bits on every device. Schema:
///   resize_8bit(Tensor pixels, Tensor first, Tensor weights) -> Tensor
at::Tensor resize_8bit(const at::Tensor& pixels, const at::Tensor& first, const at::Tensor& weights);

// Operators with gradients: what the optimiser, the mapper's training and inversion are made of. The first tensor is
// float64, float32, float16 or bfloat16; the others are float64 beside float64 and else float32, in which everything is
// computed. Tensors may lie in memory as they like; channels last (contiguous for pictures) needs no copy. float64 away from
// the CPU runs the reference. An undefined tensor is one that is left out. Gradients are first derivatives, computed only
// for the tensors that ask; a tensor that gets none is refused where it asks for one. Errors: Shape, Argument, Range.

/// y = vertical x horizontalᵀ of every plane: images [n, c, h, w], vertical [H, h], horizontal [W, w] -> [n, c, H, W],
/// contiguous. Made for resamplings, whose rows hold few entries that are not zero, and these neighbours
/// (styleclip/resampling.h makes them); right for any matrix. Gradient to images. Schema:
///   resample(Tensor images, Tensor vertical, Tensor horizontal) -> Tensor
at::Tensor resample(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal);
/// With the matrices of styleclip/resampling.h, kept from call to call: what the released code shows to CLIP,
/// [n, c, clip_size, clip_size]; bicubic, antialiased; the aligned face for an identity network, [n, c, out, out];
/// StyleGAN2's picture so far for the next resolution, [n, c, 2 h, 2 w].
at::Tensor clip_resample(const at::Tensor& images, std::int64_t clip_size = 224);
at::Tensor bicubic_resample(const at::Tensor& images, std::int64_t height, std::int64_t width);
at::Tensor face_crop_resample(const at::Tensor& images, std::int64_t out = 112);
at::Tensor upsample_picture(const at::Tensor& images);

/// The end of a StyleGAN2 layer: y = clamp(√2 leaky_relu(gain[n, o] x + noise[p] + bias[o], 0.2), ±limit).
/// x [n, channels, h, w]; gain [n, channels], above zero (demodulation), may be left out; bias [channels]; noise, times its
/// strength already, [h, w] or [n, h, w], may be left out; limit infinity for none. y lies channels last. Gradients to x,
/// gain, bias and noise, from y alone: x is not kept. An element at the limit has none. The gradient to a gain is that of
/// gain x, divided by the gain: to a gain of 0 it is NaN, since y does not tell x there. Schema:
///   styled_activate(Tensor x, Tensor? gain, Tensor bias, Tensor? noise, float limit) -> Tensor
at::Tensor styled_activate(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise,
                           double limit);

/// The same of an up layer: x[p] = Σ_ij filter[i] filter[j] t[p + (i, j) - 1], t [n, channels, h + 1, w + 1] the transposed
/// convolution's output, zero outside; filter [4], gain of two included. Gradients to t, gain, bias and noise. Schema:
///   filter_styled_activate(Tensor t, Tensor filter, Tensor? gain, Tensor bias, Tensor? noise, float limit) -> Tensor
at::Tensor filter_styled_activate(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& gain,
                                  const at::Tensor& bias, const at::Tensor& noise, double limit);

/// [n] with the graph, and [n, 3] without: the parts clip, l2, id, unweighted. float64 or float32.
struct EditLoss {
  at::Tensor total, parts;
};
/// What an edit minimises (StyleCLIP, arXiv 2103.17249, section 4), one number a latent, with all its gradients in one pass:
///   total = lambda_clip mean_t(1 − cos(embedding, text_t)) + lambda_l2 Σ (latents − source)² + lambda_id (1 − cos(identity,
///   source_identity))
/// embedding [n, d], text [t, d] for all or [n, t, d], of any length; latents and source of one shape [n, ...], their sum of
/// squares, or the mean over a latent's numbers where `mean`; identity, source_identity [n, e] or left out (then lambda_id
/// is 0 and so is the part). Any mix of the four types; computed in float64 where one is float64, else in float32. The
/// cosine of a vector of zeros is 0 and has no gradient. A weight of 0 leaves its part out of total. Gradients to embedding,
/// latents and identity. Weights are finite and not negative, else Range. Schema:
///   edit_loss(Tensor embedding, Tensor text, Tensor latents, Tensor source, Tensor? identity, Tensor? source_identity,
///             float lambda_clip, float lambda_l2, float lambda_id, bool mean) -> (Tensor total, Tensor parts)
EditLoss edit_loss(const at::Tensor& embedding, const at::Tensor& text, const at::Tensor& latents,
                   const at::Tensor& source, const at::Tensor& identity, const at::Tensor& source_identity,
                   double lambda_clip, double lambda_l2, double lambda_id, bool mean);

}  // namespace styleclip
