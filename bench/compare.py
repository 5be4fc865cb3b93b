#!/usr/bin/env python3
"""Runs attend and other libraries alternately on the same problems; writes a table and a chart of ratios.

    taskset -c 1 VENV/bin/python bench/compare.py --model DIR --markdown compare.md --svg compare.svg

A name is one of attend_bench's. All contestants get the same numbers, float32 throughout, and their outputs are
checked before they are timed: against float64 by NumPy on a part, and against attend on the whole, within
TOLERANCE of the largest value. Each round gives every contestant a slot, one after the other, in a few tenths of
a second; a ratio is the median over the rounds of the peer's time of a call over attend's in the same round, or
with --best the ratio of each one's best round, which says more on a machine that others use. One thread is timed
by the CPU clock of the contestant's process, as attend_bench does it, two by the wall clock. Pin the command to as
many cores as there are threads (taskset), or the system moves them about.
With --reduced it measures weights in fewer bits instead: MiniLM, or with the folder of a decoder's --model (one of
random weights is written by `peers.write_llama(DIR)`) prompts and single tokens, attend's types of weights beside
the peers' reduced forms, and how near each comes to float32: the cosine of the mean of each text's outputs (of a
decoder's logits), the mean and the least of all.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import peers
from chart import chart

TOLERANCE = 1e-4
NAMES = [
    "linear/M:1/K:768/N:3072", "linear/M:8/K:768/N:768", "linear/M:16/K:384/N:384", "linear/M:128/K:768/N:768",
    "linear/M:512/K:768/N:3072", "sdpa/B:1/H:12/KV:12/T:16/D:32/causal:0", "sdpa/B:1/H:12/KV:12/T:128/D:32/causal:0",
    "sdpa/B:1/H:12/KV:12/T:128/D:64/causal:0", "sdpa/B:1/H:12/KV:12/T:512/D:64/causal:0",
    "sdpa/B:1/H:12/KV:12/T:512/D:64/causal:1", "sdpa/B:1/H:12/KV:12/T:1024/D:64/causal:0",
    "sdpa/B:1/H:12/KV:12/T:1024/D:64/causal:1", "sdpa/B:1/H:12/KV:12/T:4096/D:64/causal:0",
    "sdpa/B:1/H:12/KV:12/T:4096/D:64/causal:1", "sdpa/B:1/H:32/KV:8/T:1024/D:128/causal:0",
    "sdpa/B:1/H:32/KV:8/T:1024/D:128/causal:1", "encoder_block/E:32/H:4/F:128/B:1/T:8",
    "encoder_block/E:384/H:12/F:1536/B:1/T:16", "encoder_block/E:384/H:12/F:1536/B:1/T:128",
    "encoder_block/E:768/H:12/F:3072/B:1/T:128", "encoder_block/E:768/H:12/F:3072/B:1/T:512"]
NAMES += [f"model/minilm/B:{B}/T:{T}"
          for B, T in ((1, 8), (1, 16), (1, 32), (1, 128), (1, 512), (8, 32), (32, 16), (32, 128))]

GENERATE = ["generate/prompt/T:128", "generate/token/S:128"]
TYPES = ["bfloat16", "float16", "int8", "int4"]
typical = statistics.median  # of the rounds' times; min with --best


class Attend:
    """`attend_bench --serve`, one process for the whole run."""

    def __init__(self, bench, model, threads):
        self.clock = 1 if threads == 1 else 0  # of its answers, WALL CPU
        command = [bench, *(["--model", model] if model else []), "--serve"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, name, calls, path=""):
        self.process.stdin.write(f"{name} {calls} {path}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer or answer.startswith("error"):
            raise RuntimeError(answer.strip() or "attend_bench ended")
        return float(answer.split()[self.clock])

    def output(self, name):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out")
            self.ask(name, 1, path)
            return np.fromfile(path, np.float32)


def seconds_of(peer, calls, threads):
    clock = time.process_time if threads == 1 else time.perf_counter
    begin = clock()
    peer.run(calls)
    return (clock() - begin) / calls


def check(problem, name, output, expected, where):
    """Where the output is wrong, a line that says so."""
    error = np.abs(output[where] - expected).max() / max(1, np.abs(expected).max())
    if not error <= TOLERANCE:
        return f"{name} is left out at {problem.name}: it differs by {error:.1e} of the largest value"
    return None


def vectors(problem, output):
    """One of each text: the mean of its outputs; of a decoder the logits."""
    output = np.asarray(output, np.float64)
    if problem.kind.startswith("generate/"):
        return output.reshape(1, -1)
    return output.reshape(problem.sizes["B"], problem.sizes["T"], -1).mean(axis=1)


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def ready(contestants, problem):
    """Name and peer of those that can run a problem, warm."""
    for peer_name, make in contestants:
        try:
            peer = make(problem)
            peer.run(2)
        except peers.Unsupported:
            continue
        except Exception as error:  # a peer's own trouble is no reason to lose the others
            print(f"{peer_name} is left out at {problem.name}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        yield peer_name, peer


def compare_reduced(attend, problem, contestants, arguments):
    """{name: seconds of a call in each round}, {name: cosines to attend's float32}."""
    suffix = f"/threads:{problem.threads}" if problem.threads > 1 else ""
    expected = vectors(problem, attend.output(problem.name + suffix))
    runs, found = {}, {}
    for type in ["float32", *TYPES]:
        name = problem.name + ("" if type == "float32" else "/weights:" + type) + suffix
        runs["attend " + type] = lambda calls, name=name: attend.ask(name, calls)
        found["attend " + type] = cosines(vectors(problem, attend.output(name)), expected)
    for peer_name, peer in ready(contestants, problem):
        if (output := peer.output()) is not None:
            found[peer_name] = cosines(vectors(problem, output), expected)
        runs[peer_name] = getattr(peer, "seconds", lambda calls, peer=peer: seconds_of(peer, calls, problem.threads))
    return rounds(runs, problem.threads, arguments), found


def reduced_table(results):
    """A row for each contestant: milliseconds, how many times attend's float32 they are faster, and cosines."""
    whos = list(dict.fromkeys(who for times, _ in results.values() for who in times))
    lines = ["| | " + " | ".join(f"`{name}`" for name in results) + " | cosine, mean / least |",
             "|---|" + "--:|" * (len(results) + 1)]
    for who in whos:
        cells = []
        for times, _ in results.values():
            if who not in times:
                cells.append("")
                continue
            cells.append(f"{1e3 * typical(times[who]):.3g} ({ratio(times, 'attend float32', who):.2f} ×)")
        all_cosines = [found[who] for _, found in results.values() if who in found]
        near = np.concatenate(all_cosines) if all_cosines else None
        cells.append("" if near is None else f"{near.mean():.5f} / {near.min():.5f}")
        lines.append("| " + " | ".join([who, *cells]) + " |")
    return "\n".join(lines)


def rounds(runs, threads, arguments):
    """Seconds of a call of each, in rounds in which one comes after the other."""
    calls = {}
    for who, run in runs.items():
        once = min(run(1) for _ in range(3))
        calls[who] = max(1, round(arguments.seconds / min(run(max(1, round(0.02 / once))), once)))
    times = {who: [] for who in runs}
    for _ in range(arguments.rounds):
        for who, run in runs.items():
            if threads > 1:
                time.sleep(0.02)  # threads of the one before spin for a while
            if calls[who] > 3:
                run(1)  # caches are another's
            times[who].append(run(calls[who]))
    return times


def compare(attend, problem, contestants, arguments):
    """{name: [seconds of a call in each round]}; also of attend itself and, for as many operations, of fma_peak."""
    where, expected = peers.reference(problem)
    mine = None
    suffix = f"/threads:{problem.threads}" if problem.threads > 1 else ""
    name = problem.name + suffix
    runs = {"attend": lambda calls: attend.ask(name, calls),
            "fma_peak": lambda calls: attend.ask("fma_peak" + suffix, calls)}
    for peer_name, peer in ready(contestants, problem):
        output = np.asarray(peer.output()).reshape(-1, *peer.output().shape[1:])
        if mine is None:
            mine = attend.output(name).reshape(output.shape)
            wrong = check(problem, "attend", mine, expected, where)
            if wrong:
                sys.exit("compare.py: " + wrong)
        wrong = check(problem, peer_name, output, expected, where) or check(problem, peer_name, output, mine, np.s_[:])
        if wrong:
            print(wrong, file=sys.stderr)
            continue
        runs[peer_name] = lambda calls, peer=peer: seconds_of(peer, calls, problem.threads)
    times = rounds(runs, problem.threads, arguments)
    share = problem.operations() / float(attend.output("fma_peak" + suffix)[0])
    times["fma_peak"] = [seconds * share for seconds in times["fma_peak"]]
    return times


def ratio(times, who, to="attend"):
    """How many times as long as `to` it is that `who` takes."""
    if typical is min:
        return min(times[who]) / min(times[to])
    return statistics.median(t / other for t, other in zip(times[who], times[to]))


def typically(arguments):
    return f"{'best' if typical is min else 'medians'} of {arguments.rounds} alternating rounds"


def ratios(times):
    return {who: ratio(times, who) for who in times if who not in ("attend", "fma_peak")}


def table(results, contestants):
    columns = ["problem", "attend, µs", "of peak", *("× " + name for name, _ in contestants), "× fastest"]
    lines = ["| " + " | ".join(columns) + " |",
             "|---|--:|--:|" + "--:|" * (len(contestants) + 1)]
    for name, times in results.items():
        found = ratios(times)
        cells = [f"{found[peer]:.2f}" if peer in found else "" for peer, _ in contestants]
        microseconds = 1e6 * typical(times["attend"])
        cells = [f"`{name}`", f"{microseconds:.{0 if microseconds >= 100 else 1}f}",
                 f"{100 * ratio(times, 'fma_peak'):.0f} %", *cells]
        lines.append("| " + " | ".join([*cells, f"{min(found.values()):.2f}" if found else ""]) + " |")
    return "\n".join(lines)


def cpu_model():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else "unknown CPU"


def write(results, contestants, versions, arguments):
    contestants = [(name, make) for name, make in contestants if any(name in times for times in results.values())]
    about = (f"{cpu_model()}, {arguments.threads} thread{'s' if arguments.threads > 1 else ''}, float32; "
             f"{', '.join(versions)}; {typically(arguments)}.")
    with open(arguments.markdown, "w") as file:
        file.write(f"{about} `of peak` is attend's share of the multiply-adds that the machine gives in the same "
                   "rounds; the other columns say how many times attend's time each peer takes.\n\n"
                   f"{table(results, contestants)}\n")
    with open(arguments.svg, "w") as file:
        file.write(chart({name: ratios(times) for name, times in results.items()},
                         [name for name, _ in contestants], about))


def write_reduced(results, versions, arguments):
    about = (f"{cpu_model()}, {arguments.threads} thread{'s' if arguments.threads > 1 else ''}; {', '.join(versions)}; "
             f"ms, {typically(arguments)}, and how many times as fast as attend's float32.")
    with open(arguments.markdown, "w") as file:
        file.write(f"{about}\n\n{reduced_table(results)}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default="build/bench/attend_bench")
    parser.add_argument("--model", default="", help="folder of all-MiniLM-L6-v2; without it model/… is left out")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1)
    parser.add_argument("--reduced", action="store_true", help="weights in fewer bits")
    parser.add_argument("--filter", default="", help="regular expression over the problems' names")
    parser.add_argument("--peers", default="", help="regular expression over the peers' names")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--best", action="store_true", help="each one's best round, not the median")
    parser.add_argument("--seconds", type=float, default=0.1, help="of a slot, about")
    parser.add_argument("--markdown", default="compare.md", help="file to write the table to")
    parser.add_argument("--svg", default="compare.svg", help="file to write the chart to")
    arguments = parser.parse_args()
    if arguments.best:
        global typical
        typical = min

    installed, versions, missing = peers.installed(arguments.reduced)
    contestants = [(name, make) for name, make in installed if re.search(arguments.peers, name)]
    names = [name for name in NAMES if re.search(arguments.filter, name)]
    if arguments.reduced:
        with open(os.path.join(arguments.model, "config.json")) as file:
            decoder = json.load(file)["model_type"] != "bert"
        kind = "generate/" if decoder else "model/"
        names = [name for name in NAMES + GENERATE if name.startswith(kind) and re.search(arguments.filter, name)]
    if not arguments.model:
        missing.append("model/… is left out: no --model")
        names = [name for name in names if not name.startswith("model/")]
    print("\n".join(missing), file=sys.stderr)
    if not contestants or not names:
        sys.exit("compare.py: nothing to compare")
    attend = Attend(arguments.bench, arguments.model, arguments.threads)
    results = {}
    for name in names:
        if arguments.reduced:
            problem = peers.Problem(name, arguments.threads, arguments.model)
            results[name] = compare_reduced(attend, problem, contestants, arguments)
            write_reduced(results, versions, arguments)
            continue
        results[name] = compare(attend, peers.Problem(name, arguments.threads, arguments.model), contestants, arguments)
        found = ", ".join(f"{peer} {ratio:.2f}" for peer, ratio in ratios(results[name]).items())
        print(f"{name}: {1e6 * typical(results[name]['attend']):.1f} µs; {found}", file=sys.stderr)
        write(results, contestants, versions, arguments)  # as far as it got


if __name__ == "__main__":
    main()
