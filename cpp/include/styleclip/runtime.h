// Process-wide settings of the core: devices, threads, versions.
#pragma once

#include <string>
#include <vector>

namespace styleclip {

/// "2.13.0" of the libtorch loaded now, and of the one compiled against.
std::string torch_version();
std::string built_torch_version();

/// Sets libtorch's thread count for the calling thread and threads made later; 0 keeps the default.
void set_threads(int threads);
int threads();

/// Call once on a thread that will run the core: profiling executor off, guards that hold for the thread's life.
void prepare_thread();

/// "auto" -> "cuda:0" if usable, else "cpu"; "cuda" -> "cuda:0" or Error Device. Checks that the device exists.
std::string resolve_device(const std::string& wanted);
std::vector<std::string> available_devices();

}  // namespace styleclip
