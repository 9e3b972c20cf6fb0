"""The pieces of tools/gpu-check.sh and the report that they add up to. Python's own library only.

    gpu_report.py sources                      a digest of everything that is compiled there
    gpu_report.py clear PIECES STEP...         forgets pieces that are about to be made anew
    gpu_report.py take PIECES REPORT           takes over the pieces of an earlier report that are missing here
    gpu_report.py record PIECES OUT PART STEP STATUS RESULT LOG     keeps a piece, writes the report, prints the status,
                                               failed where a result is missing; RESULT is - where there is none
    gpu_report.py report PIECES OUT            writes the report, and says what it says in some lines

What a piece and the report say of the machine comes in CHECK_* variables (gpu-check.sh). A piece is whole or not
there: everything is written under another name first. Pieces of other sources than today's, or of the other device, are
named in the report and left out.
"""
import datetime
import glob
import hashlib
import json
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
COMPILED = ["CMakeLists.txt", "bench/program", "cmake", "cpp", "cuda", "test/cuda-host", "test/selfcheck"]
GOAL_OF_FLOOR = 0.6  # of the least time that the device's own ceilings allow
GOAL_OF_COPY = 0.7  # of a copy's bandwidth
IN_CACHE = 64 * 2**20  # a kernel that moves fewer bytes may beat a copy, or is over before it gets going
PICTURES = 100  # of the full sweep
SCREENED_SECONDS = 15  # a prompt with 100 survivors, on an H200


def sources():
    digest = hashlib.sha256()
    for start in COMPILED:
        path = os.path.join(ROOT, start)
        files = [path] if os.path.isfile(path) else []
        for folder, folders, names in os.walk(path):
            folders.sort()
            files += [os.path.join(folder, name) for name in sorted(names)]
        for file in files:
            with open(file, "rb") as stream:
                content = stream.read()
            digest.update(f"{os.path.relpath(file, ROOT)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def write(path, value):
    with open(f"{path}.new", "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    os.replace(f"{path}.new", path)


def read(path):
    """None where there is no whole JSON object."""
    try:
        with open(path) as file:
            value = json.load(file)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def setting(name):
    return os.environ.get(f"CHECK_{name}") or None


def path_of(pieces, step):
    return os.path.join(pieces, f"{step}.json")


def sanitizer_result(step, log):
    """What compute-sanitizer said: errors by the kernel they were in."""
    total = re.findall(r"^=+ ERROR SUMMARY: (\d+) error", log, re.M)
    total = total or re.findall(r"RACECHECK SUMMARY: (\d+) hazard", log)
    kernels = {}
    # "=========     at KERNEL+0x120 in FILE:LINE", or of older versions "=========     at 0x120 in KERNEL"
    for place in re.findall(r"^=========     at (.+)$", log, re.M):
        name = re.sub(r"^0x[0-9a-f]+ in ", "", place)
        name = re.sub(r"\+0x[0-9a-f]+.*$", "", name).strip()
        kernels[name] = kernels.get(name, 0) + 1
    tool, _, program = step.partition("-")
    errors = int(total[-1]) if total else None
    return {"tool": tool, "program": program or "selfcheck", "errors": errors, "kernels": kernels}


def record(pieces, out, part, step, status, result, log):
    text = ""
    if os.path.exists(log):
        with open(log, errors="replace") as file:
            text = file.read()
    own = None
    if status not in ("running", "missing"):
        own = sanitizer_result(step, text) if part == "sanitize" else None if result == "-" else read(result)
        # Nothing has passed that did not say so.
        silent = own["errors"] is None if part == "sanitize" else result != "-" and own is None
        if status == "passed" and silent:
            status = "failed"
    piece = {
        "part": part,
        "step": step,
        "status": status,
        "exit": int(setting("EXIT")) if setting("EXIT") else None,
        "seconds": int(setting("SECONDS")) if setting("SECONDS") else None,
        "command": setting("COMMAND"),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **{name.lower(): setting(name) for name in ["COMMIT", "SOURCES", "DEVICE", "GPU", "NVCC", "TORCH"]},
    }
    if own is not None:
        piece["result"] = own
    if status not in ("passed", "running"):
        piece["log"] = text.splitlines()[-60:]
    os.makedirs(pieces, exist_ok=True)
    write(path_of(pieces, step), piece)
    report(pieces, out)
    print(status)


def take(pieces, earlier):
    old = read(earlier)
    if old is None or not isinstance(old.get("pieces"), dict):
        sys.exit(f"{earlier} is no report of gpu-check.sh")
    os.makedirs(pieces, exist_ok=True)
    for step, piece in old["pieces"].items():
        if not os.path.exists(path_of(pieces, step)):
            write(path_of(pieces, step), piece)


def kernels(timed):
    """Timings of our own implementations on the device that was asked for, slowest share of a copy first."""
    wanted = "cuda" if setting("DEVICE") == "cuda" else "cpu"
    rows = []
    for timing in timed["timings"]:
        if timing["implementation"] == wanted:
            names = ["op", "shape", "type", "milliseconds", "gigabytesPerSecond", "shareOfCopy"]
            rows.append({**{name: timing[name] for name in names}, "small": timing["bytes"] < IN_CACHE})
    return sorted(rows, key=lambda row: row["shareOfCopy"])


def sweeps(piece):
    swept = piece["sweep"]
    full = swept["channels"] == piece["generator"]["convChannels"]
    for method in piece["methods"]:
        row = {"name": method["name"], **swept, "allChannels": full}
        if "reason" in method:
            row["reason"] = method["reason"]
        if "imagesPerSecond" in method:
            seconds = method["images"] / method["imagesPerSecond"]
            row.update({
                "seconds": seconds,
                "imagesPerSecond": method["imagesPerSecond"],
                "floor": {
                    kind: {"seconds": floor["seconds"], "share": floor["seconds"] / seconds}
                    for kind, floor in method["floor"].items() if kind in ("separate", "fused")
                },
                "goalOfFloor": GOAL_OF_FLOOR,
                f"minutesOf{PICTURES}Pictures": seconds / swept["pictures"] * PICTURES / 60,
                "scaled": f"linearly in pictures, from {swept['pictures']}",
            })
        yield row


def screenings(piece):
    for method in piece["methods"]:
        row = {"name": method["name"], "pictures": piece["sweep"]["pictures"], "keep": piece["screen"]["keep"]}
        names = ["reason", "seconds", "slopeSeconds", "paintingSeconds", "survivors", "timesAsFast", "goal", "exact"]
        row.update({name: method[name] for name in names if name in method})
        yield {**row, "goalSeconds": SCREENED_SECONDS}


def summary(pieces):
    result = {"sweeps": [], "kernels": [], "kernelsBelowGoal": [], "screened": [], "shareOfMatmul": None,
              "computeSanitizer": {}}
    for step, piece in pieces.items():
        own = piece.get("result")
        if piece["part"] == "sanitize":
            result["computeSanitizer"][step] = {"status": piece["status"], **(own or {})}
        elif not own:
            continue
        elif piece["part"] == "sweep":
            result["sweeps"] += [{"gpu": piece["gpu"], **row} for row in sweeps(own)]
        elif step == "timings":
            result["kernels"] = [{"gpu": piece["gpu"], **row} for row in kernels(own)]
            result["copyGigabytesPerSecond"] = own.get("copyGigabytesPerSecond")
        elif step == "screened":
            result["screened"] += [{"gpu": piece["gpu"], **row} for row in screenings(own)]
        elif step == "stages":
            result["shareOfMatmul"] = {name: one["shareOfMatmul"] for name, one in own["byPrecision"].items()}
    result["goalOfCopy"] = GOAL_OF_COPY
    result["kernelsBelowGoal"] = [
        f"{row['op']} {row['shape']} {row['type']}"
        for row in result["kernels"] if not row["small"] and row["shareOfCopy"] < GOAL_OF_COPY
    ]
    return result


def report(pieces, out):
    whole, stale, unreadable = {}, [], []
    for path in sorted(glob.glob(os.path.join(pieces, "*.json"))):
        step, piece = os.path.basename(path)[: -len(".json")], read(path)
        if piece is None or not {"part", "step", "status", "sources"} <= piece.keys():
            unreadable.append(step)
        elif piece["sources"] != setting("SOURCES") or piece.get("device") != setting("DEVICE"):
            stale.append({"step": step, "commit": piece.get("commit"), "sources": piece["sources"]})
        else:
            whole[step] = piece
    try:
        told = summary(whole)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        told = {"reason": f"a piece is not as expected: {error!r}"}
    steps = {step: piece["status"] for step, piece in whole.items()}
    value = {
        "passed": bool(whole) and set(steps.values()) == {"passed"} and not unreadable and "reason" not in told,
        **{name.lower(): setting(name) for name in ["COMMIT", "SOURCES", "DEVICE", "TORCH"]},
        "gpus": sorted({piece["gpu"] for piece in whole.values() if piece.get("gpu")}),
        "steps": steps,
        "notRun": [step for step in (setting("STEPS") or "").split() if step not in steps],
        "stale": stale,
        "unreadable": unreadable,
        "summary": told,
        "pieces": whole,
    }
    os.makedirs(out, exist_ok=True)
    write(os.path.join(out, "gpu-check.json"), value)
    return value


def number(value, digits=1):
    return "none" if value is None else f"{value:.{digits}f}"


def tell(value):
    told = value["summary"]
    for row in told.get("sweeps", []):
        if "seconds" in row:
            minutes = row[f"minutesOf{PICTURES}Pictures"]
            floor = {kind: f"{100 * one['share']:.0f} %" for kind, one in row["floor"].items()}
            print(f"{row['name']}: {row['pictures']} pictures, {row['channels']} channels in {row['seconds']:.1f} s, "
                  f"{floor['separate']} of the floor with separate passes, {floor['fused']} fused; "
                  f"{minutes:.1f} minutes for {PICTURES} pictures, scaled {row['scaled']}")
        if "reason" in row:
            print(f"{row['name']}: {row['reason']}")
    for row in told.get("screened", []):
        if "seconds" in row:
            print(f"screened, {row['name']}: {row['seconds']:.1f} s for {row['survivors']:.0f} survivors of "
                  f"{row['pictures']} pictures, {number(row.get('timesAsFast'))} times as fast as exact (goal "
                  f"{number(row.get('goal'))})")
        else:
            print(f"screened, {row['name']}: {row['reason']}")
    below = told.get("kernelsBelowGoal", [])
    if told.get("kernels"):
        print(f"kernels below {GOAL_OF_COPY:.0%} of a copy: {'; '.join(below) or 'none'}")
    for step, one in told.get("computeSanitizer", {}).items():
        print(f"compute-sanitizer, {step}: {one['status']}, errors: {one.get('errors')}")
    for name in ("stale", "unreadable", "notRun"):
        if value[name]:
            words = [one if isinstance(one, str) else f"{one['step']} of {one['commit']}" for one in value[name]]
            print(f"{name}: {', '.join(words)}")


def main(words):
    verb, rest = words[0], words[1:]
    if verb == "sources":
        print(sources())
    elif verb == "clear":
        for step in rest[1:]:
            if os.path.exists(path_of(rest[0], step)):
                os.remove(path_of(rest[0], step))
    elif verb == "take":
        take(*rest)
    elif verb == "record":
        record(*rest)
    elif verb == "report":
        tell(report(*rest))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
