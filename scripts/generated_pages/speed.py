"""docs/results/speed.md: time and memory, from the rows that the benchmarks kept in Resources/figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .growth_picture import picture
from .markdown import NOTE, table
from .robustness import rows_of

HEAD = f"""# Speed and memory

{NOTE}
From `Resources/figures`, where the benchmarks named below kept their tables. Two cores without a GPU, which compute
bfloat16; rows with *no bfloat16* are of a processor (AVX2) without it, as most laptops have, where all runs in float32.
Other programs ran on the machines, so that seconds say little and ratios of runs in turn are what counts.

## Against the peer

`python Testing/benchmarks/inference.py`: whole processes, from the interpreter's start to the written files, in turns
with the 13-organ network hk13 in onnxruntime, with the windows of its own description. The embedded model consists of
the same network at the same spacing, and of a second one for six organs that hk13 does not know. It computes as many
windows at a time as cores are free, and up to four on busy ones; each beyond the first takes about 210 MiB more. *Fast*
is `segment --fast`, whose labels are [others](embedded-figures.md#with---fast).
"""
NEIGHBOURS = """## Beside busy neighbours

`python Testing/benchmarks/neighbours.py`: one prediction while other processes compute without a pause. With n of them
on c cores a program's share is 1 / (1 + n / c); the aim is 1.3 times as long as that.
"""
TRAINING_BESIDE = """### Training beside busy neighbours

`python Testing/benchmarks/training_neighbours.py`: a step of the embedded model's learner (a patch of 64 x 96 x 96, all
cores). *Spinning* is what PyTorch's threads do while they wait for one another. On Linux those of the command are
*asleep* (`OMP_WAIT_POLICY=passive`, unless you set it). *Free cores*: spinning, with a thread a core that no neighbour
has, as fine-tuning does on other systems. As many times as long as spinning without neighbours; that *free cores* is
the same there shows how much one measurement says. A small network suffers most: 8 channels and patches of 32 x 32 x 32
took up to 3.1 s a step beside two neighbours, and asleep 0.18 to 0.31 s; alone it pays for that, 0.18 to 0.23 s asleep
instead of 0.14 to 0.17 s (one run each).
"""
PARTS = """## Where the time goes

`python Testing/benchmarks/parts.py`: shares of the processor time of a whole `segment`, one thread.
"""
PREDICTORS = """## Against other predictors, with the same weights

`python Testing/benchmarks/peers.py`: whole processes with one thread and the weights of the embedded model's first
network. nnU-Net's own predictor takes float32, its own windows and its own resampling on a CPU; MONAI's
SlidingWindowInferer is put into our program in place of our windows, with the same network in the same precision.
"""
BATCH = """## Many CTs in one run

`python Testing/benchmarks/batch_20.py`: one run over so many CTs, which decides itself how many it segments at a time,
against as many runs of one CT; a run of one CT after the other; and two processes that share the list (`segment --shard
1/2` and `2/2`). Memory is that of all processes of the run. The aim is 0.6.
"""
TRAINING = """## A training step

`python Testing/benchmarks/training_step.py`: milliseconds of processor time, one thread, embedded model's learner, one
patch of 48 x 96 x 128. *Plain* is autocast, torch's cross entropy and a soft Dice over all voxels, backward, AdamW;
*ours* the library's step with the same two losses in their marginal forms; *recipe* with all losses of the recipe for
fine-tuning and the frozen start model. The aim is 1.1.
"""
LEARNING = """## Before the first step, memory of learning, and its minutes

`python Testing/benchmarks/learning_cost.py`: reading, resampling and keeping CTs for training; the peak of `finetune`
with all its processes, what they share counted once, where 2560 MiB are the aim; and the whole time of a `finetune`
that was asked for some minutes, beside processes that compute without a pause, where 10 % more or less are the aim. Of
4 minutes busy cores without bfloat16 leave little for learning, as reading and measuring alone take half of them and
more. There the run of 4 minutes beside two processes was made before the warning said so, and before the first
measurement was expected to be as slow as steps are; beside one it was +18% before and +20% after.
"""
GROWTH = """## Growth

`python Testing/benchmarks/growth.py`: processor seconds with one thread and peak memory of a whole `segment` over the
number of voxels and of organs. All CTs but the largest show the same 40 cm of a body, and that one shows 120 cm: the
networks see a body at their own spacing, so that time follows how much of it is shown, not into how many voxels.

![time and memory over the size](growth.svg)
"""
GPU = """## On a GPU

`python Testing/benchmarks/gpu.py`, at most three minutes: **not run**, no GPU was there.
"""
EARLIER = """## Earlier versions

`python Testing/benchmarks/inference.py`, one repeat.

| model | CT | time, ours : hk13 | memory, ours : hk13 |
|---|---|---|---|
| 0.4.0 | 512 x 512 x 51, 5 mm | 18.2 : 22.8 s = 0.80 | 1508 : 2573 MiB = 0.59 |
| 0.3.0 | 512 x 512 x 99, 4.25 mm | 6.0 : 55.5 s = 0.11 | 890 : 3500 MiB = 0.25 |
| 0.3.0 | 512 x 512 x 41, 5 mm | 3.3 : 17.6 s = 0.18 | 612 : 2434 MiB = 0.25 |

0.3.0 had one small network. What came after knows more and pays for it in time: hk13 itself is part of it.
"""
LIMITS = """## What was tried and left

Windows of hk13 only around the organs that the coarse network sees take a third of the time, and another segmentation.
Instance norm lets each window answer by all that it holds: cut to the organs and 25 mm around, labels agreed with the
uncut run with Dice of .87 to .99 (pancreas .87, duodenum .90, stomach .81 of a patient with a giant tumour), where
another arrangement of windows over the whole body agrees with .93 or more; and liver and pancreas lay further from the
labels of TotalSegmentator (.943 for .960, .621 for .675). So the windows stay where they are. To leave out those that
are further than 20 mm from all ten organs saves nothing on 14 of 18 CTs, and a sixth to a third of the windows on the
four that reach far beyond the abdomen; it is not done yet.

Three quarters of a run were to be the networks' forward passes. They are less (above): of eight seconds importing
PyTorch alone takes 0.9 and all other imports 0.4, whatever the CT; a larger CT comes nearer.

Files are written by one thread: a picture drawn beside them would save 0.15 s, and a cancelled run would have to wait
for it. A faster gzip would save less: of 10 s of processor time reading the CT takes 0.14 and writing both label files
0.07. What PyTorch imports for itself (its compiler, its tables of shapes) cannot be left out by settings of its own.

Other runtimes, on windows of the two networks (exported by `models export --onnx`; idle, repeats in turns, one thread
and two): OpenVINO 2026.4 takes .74 and .75 of PyTorch's time where both compute in bfloat16 (ONNX Runtime .89 and .90).
An optional extra was to win by 1.5 times, so there is none. In float32 it took .61 (AVX-512) and .77 and .84 (AVX2,
each network), for PyTorch leaves oneDNN, its quick kernels, out where an input is small or has one channel. Since
networks call them there all the same (`networks/precision.py`) and the finest stage takes 16 slices at a time, it
takes 1.17 and 1.06 of PyTorch's time with one thread and 1.01 and 1.04 with two (AVX2); and a whole `segment` takes .74
to .81 of what it did (two CTs, two repeats in turns, one thread; 40 MiB more). OpenVINO's labels differ from PyTorch's
at 0 to 7 of 100 000 voxels.

Not measured: a GPU, ARM, processors with AVX-512 but without bfloat16.
"""


def page() -> str:
    lines = [HEAD, *_peer(rows_of("speed_peer")), ""]
    beside = rows_of("speed_neighbours")
    if beside:
        lines += [NEIGHBOURS, *_neighbours(beside), ""]
    training_beside = rows_of("speed_training_neighbours")
    if training_beside:
        lines += [TRAINING_BESIDE, *_training_beside(training_beside), ""]
    sections = {"speed_parts": (PARTS, _parts), "speed_predictors": (PREDICTORS, _predictors),
                "speed_batch": (BATCH, _batch), "speed_training": (TRAINING, _training),
                "speed_learning": (LEARNING, _learning), "speed_growth": (GROWTH, _growth)}
    for name, (head, write) in sections.items():
        rows = rows_of(name)
        if rows:
            lines += [head, *write(rows), ""]
    lines += [GPU]
    return "\n".join([*lines, EARLIER, LIMITS.rstrip()]) + "\n"


def growth_picture() -> str:
    """docs/results/growth.svg."""
    return picture(rows_of("speed_growth"))


def _when(row: dict[str, Any]) -> str:
    """Repeats and date, whether the machine was busy, and which kind of processor it had."""
    text = str(row["date"])
    if "repeats" in row:
        text = f"{row['repeats']}, {text}"
    if not row.get("bfloat16", True):
        text += ", no bfloat16"
    return f"{text}, busy" if row.get("busy") else text


def _parts(rows: Sequence[dict[str, Any]]) -> list[str]:
    steps = sorted(rows[0]["shares"], key=lambda step: -rows[0]["shares"][step])
    titles = ["step", *[f"{row['ct']}, {row['model']} ({_when(row)})" for row in rows]]
    cells = [[step, *[f"{row['shares'].get(step, 0):.1%}" for row in rows]] for step in steps]
    cells.append(["processor seconds", *[f"{row['processor_s']:.1f}" for row in rows]])
    return table(titles, cells)


def _predictors(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = [[row["peer"], row["ct"], _when(row), f"{row['ours_cpu_s']} : {row['peer_cpu_s']} s = {row['cpu_ratio']}",
              f"{row['ours_mib']} : {row['peer_mib']} MiB = {row['memory_ratio']}", f"{row['dice']:.3f}"]
             for row in rows]
    return table(("peer", "CT", "repeats, date", "processor time, ours : theirs", "memory", "mean Dice between them"),
                 cells)


def _batch(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        size = "whole" if not row["slices"] else f"{row['slices']} slices"
        cells.append([str(row["count"]), f"{row['ct']}, {size}", _when(row), str(row["at_a_time"]),
                      f"{row['time_ratio']:.2f}", _one_by_one(row), _shards(row), f"{row['cpu_ratio']:.2f}",
                      f"{row['mib']} : {row['single_mib']} MiB"])
    return table(("CTs", "each", "repeats, date", "at a time", "time of one run", "one after the other",
                  "time of shards", "processor time", "memory, one run : single runs"), cells)


def _one_by_one(row: dict[str, Any]) -> str:
    return f"{row['workers_ratio']:.2f}" if row.get("workers") == 1 else ""


def _shards(row: dict[str, Any]) -> str:
    if not row.get("shards"):
        return ""
    return f"{row['shards_ratio']:.2f} ({row['shards']} processes)"


def _training(rows: Sequence[dict[str, Any]]) -> list[str]:
    parts = ("start model", "forward", "losses", "backward", "optimiser", "total")
    cells = []
    for row in rows:
        spread = f"{row['ratio']:.2f} ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})"
        cells.append([row["loop"], _when(row), *[f"{1000 * row['seconds'][part]:.0f}" for part in parts], spread])
    lines = table(("loop", "repeats, date", *parts, "of the plain loop"), cells)
    return [*lines, "", f"To cut and augment a patch takes {1000 * rows[0]['loading_s']:.0f} ms, in other processes."]


def _learning(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        if row["what"] == "preparation":
            cost = f"{row['made_s']} s ({row['made_cpu_s']} s of processor time), again {row['kept_s']} s"
        elif row["what"] == "minutes":
            cost = (f"beside {row['neighbours']}: {row['used']} of {row['minutes']:g} minutes "
                    f"({row['share'] - 1:+.0%}), {row['steps']} steps")
        else:
            cost = f"{row['mib']} MiB, after {row['peak_at_s']} of {row['seconds']} s ({row['steps']} steps)"
        cells.append([row["what"], str(row["cts"]), _when(row), cost])
    return table(("what", "CTs", "date", "cost"), cells)


def _growth(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = [[row["size"], _when(row), f"{row['processor_s']:.1f}", str(row["mib"])]
             for row in sorted(rows, key=lambda row: (row["over"], row["amount"]))]
    return table(("size", "date", "processor seconds", "MiB"), cells)


def _peer(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        lowest, highest = min(row["time_ratios"]), max(row["time_ratios"])
        cells.append([row["model"], f"{row['size']}, {row['mm']:g} mm", _when(row),
                      f"{row['ours_s']} : {row['teacher_s']} s = {row['time_ratio']:.2f} "
                      f"({lowest:.2f} to {highest:.2f})",
                      f"{row['ours_cpu_s']} : {row['teacher_cpu_s']} s = {row['cpu_ratio']:.2f}",
                      f"{row['ours_mib']} : {row['teacher_mib']} MiB = {row['memory_ratio']:.2f}",
                      f"{row['forward_of_predict']:.0%}"])
    return table(("model", "CT", "repeats, date", "time, ours : hk13 (range)", "processor time",
                  "memory", "forward pass of our `predict`"), cells)


def _training_beside(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = [[str(row["neighbours"]), row["way"], str(row["cores"]), _when(row), f"{row['seconds']:.1f}",
              f"{row['ratio']:.2f} ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})", f"{row['aim']:.2f}"]
             for row in rows]
    return table(("neighbours", "threads", "cores", "repeats, date", "s a step", "times as long (range)", "aim"), cells)


def _neighbours(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = [[row["model"], str(row["neighbours"]), str(row["cores"]), _when(row),
              f"{row['ratio']:.2f}", f"{row['aim']:.2f}"] for row in rows]
    return table(("model", "neighbours", "cores", "repeats, date", "times as long", "aim"), cells)
