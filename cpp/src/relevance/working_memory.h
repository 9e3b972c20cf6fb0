// What a sweep takes of memory beside the loaded models, and the batch that a bound on it leaves room for. Estimates err to
// the large side, but are made of what is really allocated, so that a bound is kept without being wasted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "relevance/engine.h"

namespace styleclip {

/// options.memory_bytes, or a quarter of the free memory of the models' device.
std::int64_t memory_bound(const SweepTask& task);

/// What no setting changes and no tensor holds: on a CPU the code that libtorch's first convolutions load and make, and the
/// buffers that its matrix products keep for each thread. Of the process's first sweep; later ones find it there.
std::int64_t library_bytes(const std::string& device);

/// Sample codes, both values of each channel, sums and the finished rows.
std::int64_t table_bytes(const SweepTask& task);
/// Sums of `rows` channels.
std::int64_t sums_bytes(std::int64_t rows, std::int64_t dim);

/// Bytes of tensors that work on n pictures holds at most at once: fixed + n picture.
struct PictureBytes {
  std::int64_t fixed = 0, picture = 0;
  std::int64_t of(std::int64_t n) const { return fixed + n * picture; }
};
/// Measured by doing it for `smallest` pictures and for twice as many, with an eighth added, by which blocks that are kept
/// for reuse are larger than what was asked for. On a CPU on a thread that is alone, as a Crew's are.
PictureBytes measure_pictures(const std::string& device, std::int64_t smallest,
                              const std::function<void(std::int64_t pictures)>& work);

/// The largest multiple of `smallest`, up to `largest` and at least one of it, for which bytes(pictures) is within `bound`.
std::int64_t batch_within(std::int64_t bound, std::int64_t smallest, std::int64_t largest,
                          const std::function<std::int64_t(std::int64_t pictures)>& bytes);

/// Pictures a forward beyond which this kind of device gets no faster.
std::int64_t largest_batch(const std::string& device);

}  // namespace styleclip
