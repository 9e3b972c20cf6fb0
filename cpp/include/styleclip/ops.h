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

}  // namespace styleclip
