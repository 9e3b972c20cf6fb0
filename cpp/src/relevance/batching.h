// How many pictures go through the models at once.
#pragma once

#include <cstdint>
#include <string>

#include "styleclip/style_layout.h"

namespace styleclip {

/// Bytes of memory free to use on a device now ("cpu", "cuda:0"): what the operating system calls available, within the
/// limit of the process's control group; on CUDA, what the driver calls free.
std::int64_t free_memory(const std::string& device);

/// Working memory of one picture on its way through the generator and, where clip_size > 0, CLIP: an upper estimate.
std::int64_t picture_bytes(const StyleLayout& layout, std::int64_t clip_size);

/// Pictures a forward: `wanted` where > 0, else as many as fit in `memory_bytes` (0: a quarter of the free memory) up
/// to the number beyond which this kind of device gets no faster. At least 1. Throws Range when negative.
std::int64_t choose_batch(std::int64_t wanted, std::int64_t memory_bytes, std::int64_t bytes_per_picture,
                          const std::string& device);

/// In a catch block: makes `batch` smaller, to at most half of `pictures`, where the exception says that memory ran out and
/// `pictures` could be fewer than `smallest`; throws it on otherwise.
void halve_or_rethrow(std::int64_t& batch, std::int64_t pictures, std::int64_t smallest, const std::string& device);

}  // namespace styleclip
