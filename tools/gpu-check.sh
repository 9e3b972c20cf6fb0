#!/usr/bin/env bash
# Checks and times the core on a machine with a GPU: builds the plug-in, styleclip_selfcheck and styleclip_bench against
# the libtorch of the Python found there, for the GPU found there; runs the operators' table of cases on CPU and CUDA
# against the reference, with timings, and again under compute-sanitizer, where there is one; then the relevance sweep of a
# config-f generator and ViT-B/32 of random weights in every precision, over all channels of a few pictures (its cost is
# linear in pictures), beside the device's ceilings and the floors that follow from them, and its stages one by one. Needs
# python3 with torch, cmake and a C++ compiler and, for a GPU, nvcc on PATH (of the CUDA version that torch was built for);
# no Node.
#
#     tools/gpu-check.sh [--device cuda|cpu] [--size 1024] [--channels 0] [--build DIR] [--parts check,sanitize,sweep,stages]
#
# --device cpu runs the same steps without CUDA, at a --size of your patience; --channels N sweeps N of the channels.
# Writes gpu-check.json to $OUT, or to the build directory, piece by piece. Exits 1 when anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."

device=cuda size=1024 channels=0 build=build/gpu parts=check,sanitize,sweep,stages
while [ $# -gt 0 ]; do
  case "$1" in
    --device | --size | --channels | --build | --parts)
      [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"
      shift 2
      ;;
    *) echo "unknown option $1; see the top of $0" >&2; exit 2 ;;
  esac
done
wants() { case ",$parts," in *",$1,"*) true ;; *) false ;; esac; }

mkdir -p "$build"
build=$(realpath "$build")
out=$(realpath "${OUT:-$build}")
python=${STYLECLIP_PYTHON:-python3}
torch=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))')
settings=(-DCMAKE_BUILD_TYPE=Release -DSTYLECLIP_LIBTORCH="$torch" -DSTYLECLIP_TESTS=ON -DSTYLECLIP_BENCH=ON)
targets=(styleclip_selfcheck styleclip_bench)
export GPU='' NVCC=''
if [ "$device" = cuda ]; then
  nvcc=$(realpath "$(command -v nvcc)")
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
  settings+=(-DSTYLECLIP_CUDA=ON -DSTYLECLIP_NVCC="${nvcc%/bin/nvcc}" -DSTYLECLIP_CUDA_ARCHITECTURES="$capability")
  targets+=(styleclip_cuda styleclip_plugin_test)
  GPU=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)
  NVCC=$("$nvcc" --version | sed -n 's/.*release.*, V//p')
fi
cmake -S . -B "$build" "${settings[@]}"
cmake --build "$build" --parallel --target "${targets[@]}"

failed=0
tools_run=()
plugin=()
if [ "$device" = cuda ]; then
  library=$(find "$build" -name styleclip_cuda.so -print -quit)
  plugin=(--cuda-library "$library")
fi
if wants check; then
  if [ "$device" = cuda ]; then "$build/test/styleclip_plugin_test" "$library" || failed=1; fi
  "$build/test/styleclip_selfcheck" ${plugin[@]+"${plugin[@]}"} --time --json "$out/selfcheck.json" || failed=1
fi
if wants sanitize && [ "$device" = cuda ] && command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck synccheck initcheck; do
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

# The sweep: how many pictures in each precision, so that one takes minutes. The comparison with the reference, which is
# slow, takes a part of the channels.
bench=("$build/bench/styleclip_bench")
load=(--device "$device" --size "$size" --channels "$channels" --samples 500 ${plugin[@]+"${plugin[@]}"})
if [ "$device" = cuda ]; then
  runs=(exact:1 exact/tf32:4 exact/float16:10 exact/bfloat16:10)
else
  runs=(exact:1 exact/bfloat16:1)
  load+=(--batch 8)
fi
if wants sweep; then
  for run in "${runs[@]}"; do
    name=${run%:*}
    echo "sweep: $name, ${run#*:} pictures"
    "${bench[@]}" methods "${load[@]}" --methods "$name" --images "${run#*:}" --turns 1 --check-channels 48 \
      --check-images 1 --json "$out/sweep-${name//\//-}.json" || failed=1
  done
fi
if wants stages; then
  names=$(IFS=,; echo "${runs[*]%:*}")
  "${bench[@]}" stages "${load[@]}" --methods "$names" --images 1 --json "$out/stages.json" || failed=1
fi

FAILED=$failed "$python" - "$out" ${tools_run[@]+"${tools_run[@]}"} << 'PYTHON'
import glob, json, os, sys

out = sys.argv[1]


def read(name):
    path = os.path.join(out, name)
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return json.load(file)


sweeps = [read(os.path.basename(path)) for path in sorted(glob.glob(os.path.join(out, "sweep-exact*.json")))]
report = {"gpu": os.environ["GPU"] or None, "nvcc": os.environ["NVCC"] or None, "passed": os.environ["FAILED"] == "0",
          "computeSanitizer": dict(word.split("=") for word in sys.argv[2:]), "selfcheck": read("selfcheck.json"),
          "sweeps": sweeps, "stages": read("stages.json")}
with open(os.path.join(out, "gpu-check.json"), "w") as file:
    json.dump(report, file, indent=2)
for sweep in sweeps:
    for method in sweep["methods"]:
        if "imagesPerSecond" not in method:
            print(f"{method['name']}: no rate, {method['reason']}")
            continue
        seconds = method["images"] / method["imagesPerSecond"]
        floor = method["floor"]
        print(f"{method['name']}: {method['images']} pictures in {seconds:.1f} s, {method['imagesPerSecond']:.1f} a second; "
              f"floor {floor['separate']['seconds']:.2f} s with separate passes, {floor['fused']['seconds']:.2f} s fused")
PYTHON
echo "gpu-check: $([ "$failed" = 0 ] && echo passed || echo FAILED), $out/gpu-check.json"
exit "$failed"
