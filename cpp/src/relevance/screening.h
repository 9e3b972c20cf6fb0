// What a screening knows of channels' relevances before all pictures are painted. The relevance of a channel for a unit
// text direction t is r = N / D: N = Σ d̂·t and D = |Σ d̂| over the pictures, d̂ = d/|d|.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace styleclip {

/// Products of channels' slopes with the text direction and with random directions, others for each picture.
struct Sketch {
  at::Tensor text;        // [channels, pictures] float64
  at::Tensor along;       // [channels, pictures, probes] float64
  at::Tensor directions;  // [pictures, probes, dim] float64, orthonormal in a picture
};

struct SketchedRelevance {
  at::Tensor text;       // [channels, pictures]: d̂·t by the slopes
  at::Tensor relevance;  // [channels]: |r|
};

/// From the slopes of all pictures. The length of a slope from k of dim directions is rough: its logarithm has the variance
/// (ψ'(k/2) − ψ'(dim/2)) / 4. So it is drawn towards what its channel's and its picture's mean logarithms say, by as much as
/// that noise is of what is seen of it. |Σ d̂|² loses what the noise adds to it. Exact with as many probes as dim.
SketchedRelevance read_sketch(const Sketch& sketch);

struct RelevanceEstimate {
  at::Tensor relevance;  // [channels]: |r| of all pictures
  at::Tensor error;      // [channels]: its standard error
};

/// From some pictures' differences, seen [channels, n >= 3, dim] float64, unit length or zero, the first n of all, and
/// from `control` [channels, all], d̂·t by the slopes in every picture: the estimate of n pictures, corrected by how far
/// the slopes there are from those of all (a regression estimator: Cochran, "Sampling Techniques", chapter 7), with the
/// error of a ratio in a sample without replacement. A channel's own regression and scatter count n pictures, those of all
/// channels together 20.
RelevanceEstimate estimate_relevance(const at::Tensor& seen, const at::Tensor& text, const at::Tensor& control);

}  // namespace styleclip
