#!/usr/bin/env bash
# Checks the CUDA kernels on a machine with a GPU: builds the plug-in and styleclip_selfcheck against the libtorch of the
# Python found there, for the GPU found there; runs the operators' table of cases on CPU and CUDA against the reference,
# with timings; and again under compute-sanitizer, where there is one. Needs python3 with torch, nvcc on PATH (of the CUDA
# version that torch was built for), cmake and a C++ compiler; no Node.
#
#     tools/gpu-check.sh [build directory]
#
# Writes gpu-check.json to $OUT, or to the build directory. Exits 1 when anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1:-build/gpu}
mkdir -p "$build"
build=$(realpath "$build")
out=$(realpath "${OUT:-$build}")
torch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))')
nvcc=$(realpath "$(command -v nvcc)")
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')

cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DSTYLECLIP_LIBTORCH="$torch" -DSTYLECLIP_TESTS=ON \
  -DSTYLECLIP_CUDA=ON -DSTYLECLIP_NVCC="${nvcc%/bin/nvcc}" -DSTYLECLIP_CUDA_ARCHITECTURES="$capability"
cmake --build "$build" --parallel --target styleclip_cuda styleclip_selfcheck styleclip_plugin_test

library=$(find "$build" -name styleclip_cuda.so -print -quit)
failed=0
"$build/test/styleclip_plugin_test" "$library" || failed=1
"$build/test/styleclip_selfcheck" --cuda-library "$library" --time --json "$out/selfcheck.json" || failed=1

tools_run=()
if command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck synccheck; do
    log="$out/$tool.txt"
    # PyTorch's caching allocator would hide reads beyond a tensor inside one of its own blocks.
    if PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$build/test/styleclip_selfcheck" --cuda-library "$library" > "$log" 2>&1; then
      tools_run+=("$tool=passed")
    else
      tools_run+=("$tool=failed")
      tail -n 40 "$log"
      failed=1
    fi
  done
fi

GPU=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1) \
  NVCC=$("$nvcc" --version | sed -n 's/.*release.*, V//p') FAILED=$failed \
  python3 - "$out" ${tools_run[@]+"${tools_run[@]}"} << 'PYTHON'
import json, os, sys

out = sys.argv[1]
report = {"gpu": os.environ["GPU"], "nvcc": os.environ["NVCC"], "passed": os.environ["FAILED"] == "0",
          "computeSanitizer": dict(word.split("=") for word in sys.argv[2:]), "selfcheck": None}
selfcheck = os.path.join(out, "selfcheck.json")
if os.path.exists(selfcheck):
    with open(selfcheck) as file:
        report["selfcheck"] = json.load(file)
with open(os.path.join(out, "gpu-check.json"), "w") as file:
    json.dump(report, file, indent=2)
PYTHON
echo "gpu-check: $([ "$failed" = 0 ] && echo passed || echo FAILED), $out/gpu-check.json"
exit "$failed"
