#!/usr/bin/env python3
"""Runs attend_bench and prints a Markdown table: how far benchmarks are from their limits, and from Eigen.

    taskset -c 1 bench/summary.py --bench build/bench/attend_bench '^linear/M:128|^decode'

The filter is a regular expression over attend's own names, by default those of OVERVIEW; the same names by Eigen,
with one thread, and the machine's limits they are held against, are added. Repetitions run interleaved in random order, so that a slow moment
of the machine hits all alike; every figure is a median. What limits a benchmark is the multiply-adds
(fma_peak) or the bytes that it has to read at least once (stream_read over as many bytes), whichever takes
longer; `of limit` is the limit's time over its own. Give two cores where names say threads:2.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys

EIGEN = ("eigen_", "eigen_native_")
# Of each kind of work small and large ones, with one thread.
OVERVIEW = "|".join((
    r"^linear/(M:(1|512)/K:768/N:3072|M:128/K:768/N:768|M:16/K:384/N:384)$",
    r"^sdpa/B:1/H:12/KV:12/(T:(16|128)/D:32|T:(32|128|512|1024|4096|16384)/D:64)/causal:[01]$",
    r"^sdpa/B:1/H:32/KV:8/T:1024/D:128/causal:[01]$",
    r"^decode/H:32/KV:8/S:4096/D:128$",
    r"^encoder_block/(E:32/H:4|E:384/H:12|E:768/H:12)/F:[0-9]+/B:1/T:(8|16|128|512)$",
    r"^model/minilm/B:[0-9]+/T:[0-9]+$"))


def own(name):
    """Whether a name is attend's: neither Eigen's nor the machine's."""
    return not name.startswith(("eigen_", "fma_peak", "stream_read"))


def one_thread(name):
    """The same with one thread, of a name with several; else None."""
    serial = re.sub(r"(/executor)?/threads:[0-9]+$", "", name)
    return serial if serial != name else None


def limits_of(name, counters):
    """The names of fma_peak and stream_read for as many threads, None where it has no such counter."""
    threads = re.search(r"/threads:\d+$", name)
    suffix = threads.group() if threads else ""
    stream = f"stream_read/bytes:{round(counters['bytes'])}{suffix}" if "bytes" in counters else None
    return "fma_peak" + suffix if "GFLOPS" in counters else None, stream


def run(bench, names, *options):
    """{name: {counter: median}} of some benchmarks, by exact name, and the run's context. bench: words of a command."""
    exact = "^(" + "|".join(map(re.escape, names)) + ")$"
    command = [*bench, "--benchmark_filter=" + exact, "--benchmark_format=json", *options]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"summary.py: {bench[0]} ended with {result.returncode}")
    report = json.loads(result.stdout)
    figures = {}
    for entry in report["benchmarks"]:
        if entry["run_type"] == "iteration":
            for counter in ("GFLOPS", "GBps", "bytes", "cpu_time", "real_time"):
                if counter in entry:
                    figures.setdefault(entry["run_name"], {}).setdefault(counter, []).append(entry[counter])
    for counters in figures.values():
        counters.update({counter: statistics.median(values) for counter, values in counters.items()})
    return figures, report["context"]


def row(name, figures):
    """One line of the table as strings; "" where there is nothing to say."""
    mine = figures[name]
    peak, stream = limits_of(name, mine)
    limits = {}
    if "GFLOPS" in mine:
        limits["compute"] = mine["GFLOPS"] / figures[peak]["GFLOPS"]
    if "GBps" in mine:
        limits["memory"] = mine["GBps"] / figures[stream]["GBps"]
    limit = max(limits, key=limits.get, default="")
    microseconds = mine["real_time" if "/threads:" in name else "cpu_time"] / 1000  # as the counters take it
    cells = [f"`{name}`", f"{microseconds:.{0 if microseconds >= 1000 else 1 if microseconds >= 10 else 3}f}"]
    cells += [f"{mine[counter]:.1f}" if counter in mine else "" for counter in ("GFLOPS", "GBps")]
    cells += [limit, f"{100 * limits[limit]:.0f} %" if limit else ""]
    for other in (*(figures.get(prefix + name) for prefix in EIGEN), figures.get(one_thread(name))):
        cells.append(f"{mine['GFLOPS'] / other['GFLOPS']:.2f}" if other and "GFLOPS" in mine else "")
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("filter", nargs="?", default=OVERVIEW, help="regular expression over attend's names")
    parser.add_argument("--bench", default="build/bench/attend_bench")
    parser.add_argument("--model", help="folder that model/… or generate/… is run with")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--min-time", default="0.1", help="seconds of each repetition")
    arguments = parser.parse_args()

    command = [arguments.bench, *(["--model", arguments.model] if arguments.model else [])]
    list_command = [*command, "--benchmark_list_tests=true"]
    listed = subprocess.run(list_command, stdout=subprocess.PIPE, text=True, check=True)
    known = listed.stdout.split("\n")
    names = [name for name in known if name and own(name) and re.search(arguments.filter, name)]
    if not names:
        sys.exit(f"summary.py: no benchmark matches {arguments.filter}")
    # One call of each says how many bytes it reads.
    once, _ = run(command, names, "--benchmark_min_time=0")
    limits = {limit for name in names for limit in limits_of(name, once[name]) if limit}
    others = [other for name in names for other in (*(prefix + name for prefix in EIGEN), one_thread(name))
              if other in known and other not in names]
    figures, context = run(command, [*names, *others, *sorted(limits)],
                           f"--benchmark_min_time={arguments.min_time}",
                           f"--benchmark_repetitions={arguments.repetitions}",
                           "--benchmark_enable_random_interleaving=true")

    print(f"{context['cpu']}, {context['num_cpus']} CPUs; attend on {context['attend_isa']}; "
          f"{context['compiler']}, `{context['flags']}`, eigen_native `{context['flags_of_eigen_native']}`; "
          f"medians of {arguments.repetitions} interleaved repetitions.")
    for limit in sorted(limits):
        counters = figures[limit]
        unit, counter = ("GB/s", "GBps") if "GBps" in counters else ("GFLOPS", "GFLOPS")
        print(f"`{limit}`: {counters[counter]:.1f} {unit}.")
    print()
    print("| benchmark | µs | GFLOPS | GB/s | limited by | of limit | × eigen | × eigen_native | × 1 thread |")
    print("|---|--:|--:|--:|---|--:|--:|--:|--:|")
    for name in names:
        print("| " + " | ".join(row(name, figures)) + " |")


if __name__ == "__main__":
    main()
