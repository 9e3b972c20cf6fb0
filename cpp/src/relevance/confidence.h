// How far the mean of some unit vectors can be from the mean of all: what the adaptive sweep stops by.
#pragma once

#include <cstdint>
#include <vector>

namespace styleclip {

/// t with P(|T| > t) = `tail` for Student's T with `freedom` >= 1 degrees of freedom; 0 < tail < 1.
double student_t(double tail, std::int64_t freedom);

/// Numbers of pictures after which channels are looked at, ascending: `first` and each time `growth` (above 1) as many,
/// rounded up to a multiple of `together`; the last one is `pictures`.
std::vector<std::int64_t> looks_of(std::int64_t pictures, std::int64_t first, double growth, std::int64_t together = 1);

/// A lower bound of the cosine between Σ of `count` unit vectors, a random part of `all`, and Σ of all of them. `length`
/// is that of the part's mean, 0..1. It holds with probability 1 − tail as far as the part's mean is normally distributed.
/// −1 where nothing can be said: fewer than two vectors, or an error that is larger than the mean itself.
///
/// With ū the part's mean and μ the mean of all, E|ū − μ|² = (1 − count / all) s² / count, where
/// s² = count (1 − |ū|²) / (count − 1) since the vectors have length 1. Whatever the directions that they scatter in,
/// |ū − μ|² exceeds its mean by a factor t² with no more probability than where they scatter in one (Székely and Bakirov,
/// "Extremal probabilities for Gaussian quadratic forms", 2003: for every such factor above 1.54), which is Student's t
/// with the estimated s². And a vector within e of ū is within the angle asin(e / |ū|) of it.
double cosine_bound(double length, std::int64_t count, std::int64_t all, double tail);

}  // namespace styleclip
