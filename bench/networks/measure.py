"""How a peer's process times its runs: as `binesh bench` does, with the same figures."""

import json
import math
import pathlib
import statistics
import time


def measure(args, run, load, **known):
    """One run, a warm-up, then runs for a while; prints one JSON line. `load` is in seconds, `known` joins the figures."""

    def timed():
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    def repeat(seconds, least):
        began, times = time.perf_counter(), []
        while len(times) < least or time.perf_counter() - began < seconds:
            times.append(timed())
        return times

    first = timed()
    repeat(min(0.2, args.seconds), 2)
    times = sorted(repeat(args.seconds, 5))
    median = statistics.median(times)
    figures = {
        "median_ms": 1e3 * median,
        "p90_ms": 1e3 * times[math.ceil(0.9 * len(times)) - 1],
        "mean_ms": 1e3 * statistics.mean(times),
        "runs": len(times),
        "load_ms": 1e3 * load,
        "plan_ms": max(0.0, 1e3 * (first - median)),
        "peak_bytes": peak_bytes(),
        "threads": args.threads,
        "batch": args.batch,
    }
    print(json.dumps({**figures, **known}))


def peak_bytes():
    """The most memory this process has held; None where the system does not say."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def off(values, reference):
    """The largest difference, of the reference's largest value."""
    assert values.shape == reference.shape, (values.shape, reference.shape)
    return float(abs(values - reference).max() / abs(reference).max())
