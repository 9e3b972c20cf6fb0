// styleclip_bench: how fast is the core on this machine's devices, and how far from what they could do? Answers one
// question with one JSON object. No Node; `npm run bench -- sweep` calls it, and a machine with a GPU may call it alone.
//
//     styleclip_bench methods --generator G.pt --clip C.pt [--images 2] [--methods reference,exact,exact/bfloat16]
//     styleclip_bench stages --size 1024 --device cuda --cuda-library styleclip_cuda.so
#include <ATen/Parallel.h>

#include <cstdio>
#include <filesystem>

#include "arguments.h"
#include "questions.h"
#include "styleclip/error.h"
#include "styleclip/models.h"
#include "styleclip/ops.h"
#include "styleclip/runtime.h"

namespace styleclip::bench {
namespace {

nlohmann::ordered_json answer(const Arguments& arguments) {
  const std::string& question = arguments.question();
  if (question == "methods") return answer_methods(arguments);
  if (question == "sweep") return answer_sweep(arguments);
  if (question == "screened") return answer_screened(arguments);
  if (question == "stages") return answer_stages(arguments);
  if (question == "scaling") return answer_scaling(arguments);
  if (question == "optimize") return answer_optimize(arguments);
  if (question == "operators") return answer_operators(arguments);
  return answer_ceilings(arguments);
}

// False where a contender computes other numbers than the reference.
bool run(const Arguments& arguments) {
  prepare_thread();
  register_ops();
  set_threads(static_cast<int>(arguments.number("threads")));
  if (!arguments.text("cuda-library").empty()) {
    load_cuda_library(std::filesystem::absolute(arguments.text("cuda-library")).string());
  }
  if (arguments.question() == "turns") {
    take_turns(arguments);
    return true;
  }
  nlohmann::ordered_json result = {{"question", arguments.question()},
                                   {"torch", torch_version()},
                                   {"device", arguments.text("device")},
                                   {"threads", at::get_num_threads()}};
  result.update(answer(arguments));
  const std::string text = result.dump(2) + "\n";
  if (arguments.text("json").empty()) {
    std::fputs(text.c_str(), stdout);
  } else {
    write_file_atomic(arguments.text("json"), text);
  }
  return result.value("passed", true);
}

}  // namespace
}  // namespace styleclip::bench

int main(int count, char** words) {
  try {
    return styleclip::bench::run(styleclip::bench::Arguments(count, words)) ? 0 : 1;
  } catch (const styleclip::Error& error) {
    std::fprintf(stderr, "%s\n%s\n", error.what(), error.remedy().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
