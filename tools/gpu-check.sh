#!/usr/bin/env bash
# Checks and times the core on a machine with a GPU: builds the plug-in, styleclip_selfcheck and styleclip_bench against
# the libtorch of the Python found there, for the GPU found there, and runs
#   check      the plug-in's own test; the operators' tables of cases on CPU and CUDA against the reference, and times
#   sanitize   our kernels over the same tables under compute-sanitizer's four tools, a small sweep under two of them
#   sweep      the relevance sweep of a config-f generator and ViT-B/32 of random weights in every precision, over all
#              channels of a few pictures (its cost is linear in them), beside the device's ceilings and their floors
#   screened   the 100 channels of a text by screening, beside an exact sweep
#   stages     the stages of the exact sweep one by one
# Needs python3 with torch, cmake and a C++ compiler and, for a GPU, nvcc of the CUDA version that torch was built for:
# on PATH, in NVIDIA's wheels beside torch, in /usr/local/cuda or under STYLECLIP_NVCC; compute-sanitizer on PATH,
# beside nvcc or as STYLECLIP_SANITIZER; no Node.
#
#     tools/gpu-check.sh [--device cuda|cpu] [--size 1024] [--channels 0] [--build DIR] [--parts check,sanitize,…]
#                        [--timeout 540] [--with REPORT] [--dry-run]
#
# --parts takes parts and single steps of them (memcheck, sweep-exact-float16, …; --dry-run lists all). --timeout is of
# each step, in seconds. Every step leaves a piece in the build directory, with the commit it is of, and the report,
# gpu-check.json in $OUT or the build directory, is written anew after each: calls with other --parts add up to one
# report, also where one was cut off. --with takes over what an earlier report has and this build directory has not.
# --device cpu runs the same steps without CUDA, at a --size of your patience; --channels N sweeps N of the channels.
# The commit is what git says, or STYLECLIP_COMMIT. Exits 1 when a step failed, took too long or could not run.
set -euo pipefail
cd "$(dirname "$0")/.."

device=cuda size=1024 channels=0 build=build/gpu parts=check,sanitize,sweep,screened,stages timeout=540 with='' dry=''
while [ $# -gt 0 ]; do
  case "$1" in
    --device | --size | --channels | --build | --parts | --timeout | --with)
      [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"
      shift 2
      ;;
    --dry-run) dry=yes; shift ;;
    *) echo "unknown option $1; see the top of $0" >&2; exit 2 ;;
  esac
done
case "$device" in cuda | cpu) ;; *) echo "--device is cuda or cpu, not $device" >&2; exit 2 ;; esac

# part:step; a step's name is its piece's. The build is always wanted.
steps=(check:selfcheck check:timings)
if [ "$device" = cuda ]; then
  steps=(check:plugin "${steps[@]}" sanitize:memcheck sanitize:racecheck sanitize:synccheck sanitize:initcheck
         sanitize:memcheck-sweep sanitize:initcheck-sweep
         sweep:sweep-exact-float16 sweep:sweep-exact-bfloat16 sweep:sweep-exact-tf32)
else
  steps+=(sweep:sweep-exact-bfloat16)
fi
steps+=(sweep:sweep-exact screened:screened stages:stages)

wants() { case ",build,$parts," in *",$1,"* | *",$2,"*) true ;; *) false ;; esac; }
for word in ${parts//,/ }; do
  known=''
  for one in "${steps[@]}"; do
    case "$word" in "${one%%:*}" | "${one#*:}") known=yes ;; esac
  done
  # A CPU has nothing to sanitize.
  if [ -z "$known" ] && [ "$device:$word" != cpu:sanitize ]; then
    echo "there is no part or step $word; --dry-run lists them" >&2
    exit 2
  fi
done

# ----------------------------------------------------------------------------------------------------------------------
# What is there

python=${STYLECLIP_PYTHON:-python3} torch=TORCH library=styleclip_cuda.so nvcc=NVCC sanitizer=compute-sanitizer
capability=CAPABILITY
export CHECK_DEVICE=$device CHECK_GPU='' CHECK_NVCC='' CHECK_TORCH='' CHECK_STEPS="${steps[*]#*:}"
export CHECK_COMMIT='' CHECK_SOURCES='' CHECK_EXIT='' CHECK_SECONDS='' CHECK_COMMAND=''

nvcc_version() { "$1" --version 2> /dev/null | sed -n 's/.*release.*, V//p'; }

# The first nvcc of the major version that torch was built for.
find_nvcc() {
  local major=$1 candidate version seen=()
  for candidate in ${STYLECLIP_NVCC:+"$STYLECLIP_NVCC/bin/nvcc"} "$(command -v nvcc || true)" \
    "$torch/../nvidia/cu$major/bin/nvcc" "$torch/../nvidia/cuda_nvcc/bin/nvcc" ${CUDA_HOME:+"$CUDA_HOME/bin/nvcc"} \
    /usr/local/cuda/bin/nvcc /usr/local/cuda-"$major"*/bin/nvcc; do
    [ -x "$candidate" ] || continue
    version=$(nvcc_version "$candidate" || true)
    if [ "${version%%.*}" = "$major" ]; then
      nvcc=$(realpath "$candidate")
      CHECK_NVCC=$version
      return 0
    fi
    seen+=("$candidate is of CUDA ${version:-unknown}")
  done
  echo "Found no nvcc of CUDA $major, which torch was built for: not under STYLECLIP_NVCC, on PATH," \
    "in nvidia/cu$major/bin beside torch, under CUDA_HOME or in /usr/local/cuda. ${seen[*]-}" >&2
  echo "Install NVIDIA's wheels (pip install 'cuda-toolkit[nvcc,nvvm,cccl,cudart]==$major.*') or name its root:" \
    "STYLECLIP_NVCC=DIR $0" >&2
  return 1
}

# Empty where there is none.
find_sanitizer() {
  local candidate root=${nvcc%/bin/nvcc}
  if [ -n "${STYLECLIP_SANITIZER:-}" ]; then
    [ ! -x "$STYLECLIP_SANITIZER" ] || echo "$STYLECLIP_SANITIZER"
    return 0
  fi
  for candidate in "$(command -v compute-sanitizer || true)" "$root/bin/compute-sanitizer" \
    "$root/compute-sanitizer/compute-sanitizer" /usr/local/cuda/bin/compute-sanitizer \
    /usr/local/cuda/compute-sanitizer/compute-sanitizer; do
    [ -x "$candidate" ] && { echo "$candidate"; return 0; }
  done
  return 0
}

# As many compilers as there are processors, and 2 GiB of memory for each.
jobs_here() {
  local cores memory limit
  cores=$(nproc)
  memory=$(awk '/^MemTotal/ { print int($2 / 2097152) }' /proc/meminfo)
  limit=$(cat /sys/fs/cgroup/memory.max 2> /dev/null || true)
  case "$limit" in
    '' | *[!0-9]*) ;;
    *)
      limit=$((limit / 2147483648))
      [ "$limit" -ge "$memory" ] || memory=$limit
      ;;
  esac
  [ "$memory" -ge "$cores" ] || cores=$memory
  [ "$cores" -ge 1 ] || cores=1
  echo "$cores"
}

if [ -z "$dry" ]; then
  mkdir -p "$build"
  build=$(realpath "$build")
  out=${OUT:-$build}
  mkdir -p "$out"
  out=$(realpath "$out")
  about=$("$python" -c 'import os, sys, torch
print(sys.executable, os.path.dirname(torch.__file__), torch.__version__, torch.version.cuda or "", sep="\n")') ||
    { echo "$python has no torch; name another Python: STYLECLIP_PYTHON=… $0" >&2; exit 1; }
  { read -r python && read -r torch && read -r CHECK_TORCH && read -r cuda; } <<< "$about" || true
  CHECK_SOURCES=$("$python" -I -S tools/gpu_report.py sources)
  CHECK_COMMIT=${STYLECLIP_COMMIT:-$(git describe --always --dirty 2> /dev/null || true)}
  if [ "$device" = cuda ]; then
    [ -n "${cuda:-}" ] || { echo "$torch is a libtorch without CUDA" >&2; exit 1; }
    command -v nvidia-smi > /dev/null ||
      { echo "found no nvidia-smi: is there a GPU? --device cpu needs none" >&2; exit 1; }
    find_nvcc "${cuda%%.*}"
    sanitizer=$(find_sanitizer)
    CHECK_GPU=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
  fi
fi
pieces=$build/pieces work=$build/steps
# Python without its site packages starts in half the time.
report() { "$python" -I -S tools/gpu_report.py "$@"; }

# ----------------------------------------------------------------------------------------------------------------------
# Steps

failed=0

# run PART STEP COMMAND…: with a time limit, its output in a file, its piece kept. A command that has --json gives it
# $work/STEP.json.
run() {
  local part=$1 step=$2 code=0 status=passed begun=$SECONDS json=-
  shift 2
  wants "$part" "$step" || return 0
  if [ -n "$dry" ]; then
    echo "$part $step: timeout $timeout $*"
    return 0
  fi
  local log=$work/$step.txt
  case " $* " in *' --json '*) json=$work/$step.json ;; esac
  CHECK_COMMAND=$* CHECK_EXIT='' CHECK_SECONDS=''
  if [ "$part" = sanitize ] && [ -z "$sanitizer" ]; then
    echo "found no compute-sanitizer: not on PATH, beside nvcc or as STYLECLIP_SANITIZER" > "$log"
    status=missing
  else
    echo "$part: $step"
    report record "$pieces" "$out" "$part" "$step" running - "$log" > /dev/null
    timeout --kill-after=20 "$timeout" "$@" > "$log" 2>&1 || code=$?
    case "$code" in 0) ;; 124 | 137) status='timed out' ;; *) status=failed ;; esac
    CHECK_EXIT=$code CHECK_SECONDS=$((SECONDS - begun))
  fi
  status=$(report record "$pieces" "$out" "$part" "$step" "$status" "$json" "$log")
  if [ "$status" != passed ]; then
    tail -n 40 "$log"
    failed=1
  fi
  echo "$step: $status${CHECK_SECONDS:+ after $CHECK_SECONDS s}"
}

if [ -z "$dry" ]; then
  mkdir -p "$work"
  [ -z "$with" ] || report take "$pieces" "$with"
  stale=()
  for one in "${steps[@]}"; do
    if wants "${one%%:*}" "${one#*:}"; then stale+=("${one#*:}"); fi
  done
  report clear "$pieces" configure compile ${stale[@]+"${stale[@]}"}
  for one in ${stale[@]+"${stale[@]}"}; do rm -f "$work/$one.json" "$work/$one.txt"; done
fi

settings=(-DCMAKE_BUILD_TYPE=Release -DSTYLECLIP_LIBTORCH="$torch" -DSTYLECLIP_TESTS=ON -DSTYLECLIP_BENCH=ON)
targets=(styleclip_selfcheck styleclip_bench)
if [ "$device" = cuda ]; then
  settings+=(-DSTYLECLIP_CUDA=ON -DSTYLECLIP_NVCC="${nvcc%/bin/nvcc}" -DSTYLECLIP_CUDA_ARCHITECTURES="$capability")
  targets+=(styleclip_cuda styleclip_plugin_test)
fi
# A build directory keeps the generator that it was made with.
generator=()
if [ ! -e "$build/CMakeCache.txt" ] && command -v ninja > /dev/null; then generator=(-G Ninja); fi
run build configure cmake -S . -B "$build" ${generator[@]+"${generator[@]}"} "${settings[@]}"
[ "$failed" != 0 ] || run build compile cmake --build "$build" --parallel "$(jobs_here)" --target "${targets[@]}"
[ "$failed" = 0 ] || { echo "gpu-check: FAILED to build, $out/gpu-check.json"; exit 1; }

plugin=()
if [ "$device" = cuda ]; then
  if [ -z "$dry" ]; then library=$(find "$build" -name styleclip_cuda.so -print -quit); fi
  plugin=(--cuda-library "$library")
fi
selfcheck=$build/test/styleclip_selfcheck bench=$build/bench/styleclip_bench

if [ "$device" = cuda ]; then run check plugin "$build/test/styleclip_plugin_test" "$library"; fi
run check selfcheck "$selfcheck" ${plugin[@]+"${plugin[@]}"} --json "$work/selfcheck.json"
run check timings "$selfcheck" ${plugin[@]+"${plugin[@]}"} --implementation "$device" --time --json "$work/timings.json"

# How many pictures in each precision, so that one takes minutes. The comparison with the reference, which is slow,
# takes a part of the channels.
load=(--device "$device" --size "$size" --channels "$channels" --samples 500 ${plugin[@]+"${plugin[@]}"})
[ "$device" = cuda ] || load+=(--batch 8)
sweep() {
  run sweep "$1" "$bench" methods "${load[@]}" --methods "$2" --images "$3" --turns 1 --check-channels 48 \
    --check-images 1 --json "$work/$1.json"
}
screened() { run screened screened "$bench" screened "${load[@]}" "$@" --json "$work/screened.json"; }
if [ "$device" = cuda ]; then
  sweep sweep-exact-float16 exact/float16 10
  screened --methods exact/float16 --keep 100 --images 100 --exact-images 2
  sweep sweep-exact-bfloat16 exact/bfloat16 10
  sweep sweep-exact-tf32 exact/tf32 4
  sweep sweep-exact exact 1
  names=exact,exact/tf32,exact/float16,exact/bfloat16
else
  sweep sweep-exact exact 1
  sweep sweep-exact-bfloat16 exact/bfloat16 1
  screened --methods exact --keep 20 --images 8 --exact-images 1 --directions 1
  names=exact,exact/bfloat16
fi
run stages stages "$bench" stages "${load[@]}" --methods "$names" --images 1 --json "$work/stages.json"

# PyTorch's caching allocator would hide reads beyond a tensor inside one of its own blocks.
sanitize() {
  local step=$1
  shift
  run sanitize "$step" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" --tool "${step%-sweep}" --error-exitcode 9 "$@"
}
if [ "$device" = cuda ]; then
  for tool in memcheck racecheck synccheck initcheck; do
    sanitize "$tool" "$selfcheck" "${plugin[@]}" --implementation cuda
  done
  for tool in memcheck initcheck; do
    sanitize "$tool-sweep" "$bench" sweep --device cuda "${plugin[@]}" --size 64 --channel-max 32 --channels 12 \
      --images 1 --samples 32 --methods "$names"
  done
fi

[ -z "$dry" ] || exit 0
report report "$pieces" "$out"
echo "gpu-check: $([ "$failed" = 0 ] && echo passed || echo FAILED) ($parts), $out/gpu-check.json"
exit "$failed"
