"""Markdown tables of cells: one cell is one network, batch, number of threads and direction, run by several engines."""

import pathlib
import platform
import statistics

from engines import ENGINES


def undisturbed(figures, limit):
    """The processes during which other programs took no more than `limit` of the machine."""
    return [one for one in figures if one["others"] is None or one["others"] <= limit]


def disturbed(cell, limit):
    return any(figures and not undisturbed(figures, limit) for figures in cell["engines"].values())


def median(cell, engine, limit, *keys):
    """The median over processes of a figure, or of a sum of figures."""
    figures = cell["engines"].get(engine) or []
    figures = undisturbed(figures, limit) or figures
    values = [sum(one[key] for key in keys) for one in figures if all(one.get(key) is not None for key in keys)]
    return statistics.median(values) if values else None


def tables(cells, limit):
    """All cells, in a pair of tables for each batch, number of threads, direction and size of picture that is not the network's own."""
    groups = {}
    for cell in cells:
        groups.setdefault((cell["gradient"], cell["threads"], cell["batch"]), []).append(cell)
    out = []
    for (gradient, threads, batch), group in sorted(groups.items()):
        what = "forwards and gradient of the input" if gradient else "forwards"
        count = "1 thread" if threads == 1 else f"{threads} threads"
        out += [f"{processor()}, {count}, batch {batch}, {what}; {versions(group)}.", ""]
        out += [*times(group, limit, gradient), "", *memory(group, limit), ""]
    return "\n".join(out)


def times(group, limit, gradient):
    engines = [engine for engine in ENGINES if any(cell["engines"].get(engine) for cell in group)]
    peers = [engine for engine in engines if engine not in ("binesh", "forward")]
    head = ["network", *(f"{ENGINES[e][0]}, ms" for e in engines), *(f"{ENGINES[e][0]} / Binesh" for e in peers)]
    head += ["gradient / forward"] if gradient else []
    out = [row(*head, "PyTorch's multiply-adds / ours", "outputs differ by", "others"), rule(len(head) + 3)]
    for cell in group:
        ms = {engine: median(cell, engine, limit, "median_ms") for engine in engines}
        spoiled = disturbed(cell, limit)
        ratios = [ratio(ms[engine], ms.get("binesh"), spoiled) for engine in peers]
        ratios += [ratio(ms.get("binesh"), ms.get("forward"), spoiled)] if gradient else []
        macs = [median(cell, engine, limit, "macs") for engine in ("torch", "binesh")]
        others = [one["others"] for figures in cell["engines"].values() for one in figures or () if one["others"] is not None]
        out.append(row(
            label(cell), *(show(ms[engine]) for engine in engines), *ratios,
            show(macs[0] / macs[1]) if all(macs) else "",
            show(cell["outputs"]["binesh_ort"], "{:.0e}"), show(100 * max(others) if others else None, "{:.0f} %"),
        ))  # fmt: skip
    return out


def memory(group, limit):
    engines = [engine for engine in ENGINES if engine != "forward" and any(cell["engines"].get(engine) for cell in group)]
    head = [f"load and plan, ms: {ENGINES[engine][0]}" for engine in engines]
    head += [f"largest memory, MB: {ENGINES[engine][0]}" for engine in engines]
    out = [row("network", *head), rule(1 + len(head))]
    for cell in group:
        starts = [median(cell, engine, limit, "load_ms", "plan_ms") for engine in engines]
        peaks = [median(cell, engine, limit, "peak_bytes") for engine in engines]
        peaks = [peak and peak / 1e6 for peak in peaks]
        out.append(row(label(cell), *(show(value, "{:.0f}") for value in (*starts, *peaks))))
    return out


def label(cell):
    return cell["net"] if cell["side"] == cell["own_side"] else f"{cell['net']}, {cell['side']} px"


def versions(group):
    known = {}
    for cell in group:
        for engine, figures in cell["engines"].items():
            for one in figures or ():
                known[ENGINES[engine][0]] = one.get("version") or one.get("isa")
    known.pop("Binesh forwards", None)
    return ", ".join(f"{engine} {version}" for engine, version in known.items())


def ratio(theirs, ours, spoiled):
    if theirs is None or not ours:
        return ""
    return "disturbed" if spoiled else f"**{theirs / ours:.2f}**"


def show(value, form="{:.2f}"):
    return "" if value is None else form.format(value)


def row(*cells):
    return f"| {' | '.join(cells)} |"


def rule(columns):
    return "|" + "---|" * columns


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
