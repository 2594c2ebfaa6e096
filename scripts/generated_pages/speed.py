"""docs/results/speed.md: time and memory, from the rows that the benchmarks kept in Resources/figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .markdown import NOTE, table
from .robustness import rows_of

HEAD = f"""# Speed and memory

{NOTE}
From `Resources/figures`, where the two benchmarks named below kept their tables. Two cores without a GPU. Other
programs ran on the machine, so that seconds say little and ratios of runs in turn are what counts.

## Against the peer

`python Testing/benchmarks/inference.py`: whole processes, from the interpreter's start to the written files, in turns
with the 13-organ network hk13 in onnxruntime, with the windows of its own description. The embedded model consists of
the same network at the same spacing, and of a second one for six organs that hk13 does not know. It computes as many
windows at a time as cores are free; each beyond the first takes about 260 MiB more.
"""
NEIGHBOURS = """## Beside busy neighbours

`python Testing/benchmarks/neighbours.py`: one prediction while other processes compute without a pause. With n of them
on c cores a program's share is 1 / (1 + n / c); the aim is 1.3 times as long as that.
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

Not measured: a GPU, other processors.
"""


def page() -> str:
    lines = [HEAD, *_peer(rows_of("speed_peer")), ""]
    beside = rows_of("speed_neighbours")
    if beside:
        lines += [NEIGHBOURS, *_neighbours(beside), ""]
    return "\n".join([*lines, EARLIER, LIMITS.rstrip()]) + "\n"


def _peer(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        lowest, highest = min(row["time_ratios"]), max(row["time_ratios"])
        cells.append([row["model"], f"{row['size']}, {row['mm']:g} mm", f"{row['repeats']}, {row['date']}",
                      f"{row['ours_s']} : {row['teacher_s']} s = {row['time_ratio']:.2f} "
                      f"({lowest:.2f} to {highest:.2f})",
                      f"{row['ours_cpu_s']} : {row['teacher_cpu_s']} s = {row['cpu_ratio']:.2f}",
                      f"{row['ours_mib']} : {row['teacher_mib']} MiB = {row['memory_ratio']:.2f}",
                      f"{row['forward_of_predict']:.0%}"])
    return table(("model", "CT", "repeats, date", "time, ours : hk13 (range)", "processor time",
                  "memory", "forward pass of our `predict`"), cells)


def _neighbours(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = [[row["model"], str(row["neighbours"]), str(row["cores"]), f"{row['repeats']}, {row['date']}",
              f"{row['ratio']:.2f}", f"{row['aim']:.2f}"] for row in rows]
    return table(("model", "neighbours", "cores", "repeats, date", "times as long", "aim"), cells)
