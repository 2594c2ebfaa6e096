"""docs/results/refine.md: what strokes do to one CT and to the next, from the rows in Resources/figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from .embedded_figures import ROOT
from .markdown import NOTE, table
from .robustness import rows_of

ARMS = {"refine": "`refine`", "pasted": "strokes pasted", "watershed": "watershed", "random_walker": "random walker",
        "finetune": "fine-tuning"}
GROUPS = {"unseen": "CTs that neither the settings nor the start model saw",
          "unseen, cut": "The same, a part of each organ taken away",
          "unseen, short": "The same, short strokes",
          "unseen, cut, short": "The same, a part of each organ taken away, and short strokes",
          "chosen on": "CTs that the settings were chosen on",
          "chosen on, cut": "The same, a part of each organ taken away",
          "chosen on, short": "The same, short strokes",
          "chosen on, cut, short": "The same, a part of each organ taken away, and short strokes",
          "trained on": "CTs that the start model was trained on",
          "human": "the CT with human labels"}
CUT = (" Behind a plane in any direction three to six tenths of the organ are called background, or small bowel: "
       "errors as thick as the organ, of which the labels above have few (`refine.py --cut`).")
SHORT = " Of each stroke the middle four tenths are drawn (`refine.py --share 0.4`)."
# Of whom it must be known how often they were looked at.
RUNS = {
    "unseen": " They were run eight times: again after two faults were mended that the human CT below had shown, "
              "after a stroke's reach was shortened, after basins were weighed in, with a variant that was left, after "
              "what an edge encloses counted as nearer, and after a small network was asked as well, all chosen on CTs "
              "below; that was run twice, which differ in what is missing as a whole alone. What follows, and the "
              "three tables after it, are of the last run, since nothing farther than 60 mm from a stroke changes: it "
              "moved no mean by more than .004, and tables further below are of before. Before the network weak organs "
              "had .740 after three strokes and .806 after ten, others .956 and .962, and -.064 stood where an organ "
              "is that was not drawn for (on other processors, where the start is the same to .0001; rivals too ran on "
              "one).",
    "unseen, cut": CUT + " Before the network was asked `refine` had .709 after one stroke, .797 after three.",
    "unseen, short": SHORT + " Before the network was asked weak organs had .713 after three of them, others .950.",
    "unseen, cut, short": SHORT + " Before the network was asked `refine` had .629, .707, .767 after one, three and "
                                  "five of them, less than the watershed.",
    "chosen on": " The network that is asked was trained on these CTs too. Rivals here and in the next three tables "
                 "ran on another processor, where the start is the same to .0003.",
    "chosen on, cut": CUT,
    "chosen on, short": SHORT,
    "chosen on, cut, short": SHORT,
    "trained on": ""}
HEAD = f"""# Correcting with strokes

{NOTE}
From `Resources/figures`, where `refine.py`, `refine_speed.py`, `refine_loop.py` and `rank.py` of `Testing/benchmarks`
kept their tables.

A simulated user looks for the largest error of one organ, draws a stroke of 3 mm through its middle on one axial slice,
says what the reference has there, sees the answer, and draws the next. Each organ begins at the model's labels.

- *`refine`*: what the command and the panel's *Correct with strokes* do: a stroke spreads to what shares its error, as
  a rule (distance, looks, the side of the CT's edges that a voxel lies on) and a small network say together, and the
  outline of the drawn organ moves to the CT's edges, by 3 mm at most. *Strokes pasted*: only the drawn voxels change.
  *Watershed* (SimpleITK's) and *random walker* (scikit-image's) grow the strokes and the cores of all labels into what
  lies between. *Fine-tuning* teaches the model the strokes so far in 40 steps, minutes a stroke.
- *Weak*: Dice below .80 before the first stroke. *Worst*: how far one organ fell below its start at any of the counts
  shown; *lost*: how many organs fell by more than .005; *other*: the most that an organ lost which was not drawn for.
- Aimed at after three strokes: +.10 on weak organs, +.02 on the others, no organ lost, and more than every rival.
"""
FOLDS = """## On labels of another model

The references are labels of the network hk13, not of physicians, as the [data statement](../data-statement.md) says.
The embedded model asks that network itself, so the start is another's: `light-0.3.0`, the small network of version
0.3.0.
"""
TAUGHT = """### Fine-tuning on the same strokes

`python Testing/benchmarks/refine.py --arms finetune --strokes 1`: 40 steps, minutes a stroke, so it was tried on few
organs and one stroke each. Dice after it:
"""
FEW_STEPS = 40  # below them `finetune` warns
LEAST_GAIN = 0.01  # of Dice: less may be chance
HUMAN = """## On human labels

One CT (CORT, a planning CT of 3 x 3 x 2.5 mm) with clinicians' contours of seven organs. It was run eight times, after
all settings. The first run showed two faults at the left kidney of `light-0.3.0`, of which seven eighths are missing,
half of that called bowel: .20, .18, .36 after 0, 1, 3 strokes. An error that is called two things was taken for a thin
one, and the outline of a fragment was moved. Both were mended on other CTs, from whose organs parts were taken away, so
for this kidney the later runs are no independent test. That rivals were better at its stomach and bowel led to the
basins, which were chosen on other CTs, as were the changes after them; every table here is of the eighth run (the fifth
was of a variant that was left). In the seventh, when a network was asked for the first time, this kidney fell from .713
to .521 after three strokes; that the network is not asked any more of organs that are missing as a whole, chosen on
others, did not change it. The embedded model (0.5.1) was never trained on this CT; `light-0.3.0` was, with labels
of hk13. Dice before the first stroke and after three:
"""
SPEED = """## Time and memory

`python Testing/benchmarks/refine_speed.py`: a real CT resampled to 512 x 512 x 100 voxels, five strokes in each organ.
Aimed at on two cores: a first answer in 3 s, a further one in 2 s, at most 1.5 GB above segmenting. A first answer
includes that the session is begun; reading the CT and segmenting it are not part of it. Nothing else ran on the
machine; by the rule alone a first answer took 0.49 s there, a further one 0.39 s.
"""
LOOP = """## Refine five, fine-tune, and the next CT

`python Testing/benchmarks/refine_loop.py`: in five CTs the weak organs get up to three strokes each and are accepted as
they are then; the model is fine-tuned on them and segments a sixth CT, which nobody drew in. References are labels of
hk13. It was run when strokes still reached half of their extent, without basins or network. Dice of the sixth CT,
without and with what the five taught:
"""
RANK = """## Where to draw next

`python Testing/benchmarks/rank.py`: one stroke in each organ, on the slice that `rank` names, and on four slices of the
organ drawn at random, whose mean counts. The slice is the one around which most of the organ's probability lies outside
its labels; the rule was chosen on waw2144_eq, waw2144_pv, crlm_1004 and hcc_006, which are not among these CTs. It was
run before basins and network. Start and references are those of the first table; the start model was trained on
crlm_1006, tcga_bc_a10w and cptac_c3l_00189. Mean gain in Dice of one stroke; *first n*: the organs that the ranking
puts first; *all*: what choosing organs at random gives. *Noise*: twice the standard error over organs.
"""
LIMITS = """## What is not shown

- Nobody has drawn: the user is a program that knows the reference, never misses it, and draws on axial slices alone.
  He sees every error; what two wrong labels share takes a stroke through both: of a gallbladder's missing fundus,
  background in the middle and colon around it, a stroke of 31 mm fills the middle, 36 x 39 mm, and not the rim
  (hcc_011, the embedded model).
- Human references of one CT only; spleen, gallbladder, pancreas, esophagus and adrenals have none.
- Colon and small bowel are in no table but the human one, rectum, bladder and femoral heads in none: no other CT here
  has masks of them.
- That outlines which follow the CT's edges are better by human contours as well: by labels of hk13 they bring organs
  above .80 about .01 of Dice, on the human CT nothing, and its stomach gains less than it did without them.
- What a shorter reach of strokes costs: it was chosen on three CTs, where three organs had fallen below their start for
  a stroke or two and none did any more; on three others ten strokes brought weak organs .015 less than before.
- How much of it is chance: the start model's labels on another processor, without bfloat16, moved the mean of twelve
  weak organs by .004 after three strokes and by .008 after ten, and one of them fell by .013.
- Organs that are not drawn for can lose: by .003 at most on the CTs that nothing was chosen on, by .016 on the human
  one. Of a label that less than a tenth of a stroke lies in, only what is within 10 mm is in question; of what more of
  it lies in, all is.
- The network that is asked has seen strokes in ten organs alone, axial ones, of this simulated user. On eight CTs that
  it had not seen (two halves, each judged by a network of the other CTs), parts of organs taken away and short strokes:
  .742 instead of .701 after one stroke, .814 instead of .771 after three (75 organs); labels as they are: weak organs
  -.006 +- .009 and +.002 +- .008, others +.001 after one and three. Its share was chosen on these eight.
- The loop on more than one sixth CT; the peers that learn from clicks.
"""


def page() -> str:
    means = rows_of("refine")
    lines = [HEAD, FOLDS]
    for group in RUNS:
        chosen = [row for row in means if row["cts"] == group]
        if chosen:
            count = max(row["ct_count"] for row in chosen)
            counted = f"{count} CTs. In brackets: how many organs.{RUNS[group]}"
            lines += [f"### {_upper(GROUPS[group])}", "", counted, "", *_means(chosen), "", *_verdicts(chosen), ""]
    organs = rows_of("refine_organs")
    taught = [row for row in organs if row["cts"] != "human"]
    if taught:
        lines += [TAUGHT, *_organs(taught, "1"), "", _seconds_of_arms(taught), ""]
    human = [row for row in means if row["cts"] == "human"]
    lines += [HUMAN, *_organs([row for row in organs if row["cts"] == "human"], "3"), ""]
    for model in dict.fromkeys(row["model"] for row in human):
        of_model = [row for row in human if row["model"] == model]
        lines += [f"### From {model}", "", *_means(of_model), "", *_verdicts(of_model), ""]
    speed = _one("refine_speed")
    if speed:
        lines += [SPEED, *_speed(speed), ""]
    loops = rows_of("refine_loop")
    if loops:
        lines += [LOOP, *_loop(loops), ""]
    rank = _one("refine_rank")
    if rank:
        lines += [RANK, *_rank(rank), ""]
    return "\n".join([*lines, LIMITS.rstrip()]) + "\n"


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _one(name: str) -> dict[str, Any]:
    """A figure's file that holds one table; empty where it was not measured."""
    file = ROOT / "Resources" / "figures" / f"{name}.json"
    figures: dict[str, Any] = {}
    if file.exists():
        figures = json.loads(file.read_text(encoding="utf-8"))
    return figures


def _means(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Start models and kinds of organs one below the other, an arm a row."""
    counts = []
    for row in rows:
        counts += [number for number in row["dice"] if number not in counts]
    counts.sort(key=int)
    cells = []
    for row in sorted(rows, key=lambda row: (row["model"], not row["weak"], list(ARMS).index(row["arm"]))):
        kind = {True: "weak", False: "others"}[row["weak"]]
        dice = [_number(row["dice"].get(number), 3) for number in counts]
        gain = row["dice"].get("3", row["dice"]["0"]) - row["dice"]["0"]
        hd95 = f"{_number(row['hd95_mm'].get('0'), 1)} → {_number(row['hd95_mm'].get('3'), 1)}"
        worst = "none"
        if row["worst"] < 0:
            worst = f"{row['worst']:+.3f} ({row['worst_organ'].replace('_', ' ')})"
        cells.append([f"{kind} ({row['organs']})", ARMS[row["arm"]], *dice, f"{gain:+.3f}",
                      hd95, worst, str(row["lost"]), f"{row['worst_other']:+.3f}", _seconds(row)])
    titles = ["start" if number == "0" else f"after {number}" for number in counts]
    return table(("organs", "arm", *titles, "gain of 3", "HD95, mm: start → 3", "worst", "lost", "other",
                  "s: first, further"), cells)


def _verdicts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whether the aims are met, weak and other organs a line each."""
    lines = []
    # An arm that ran on a part of the organs is not compared.
    complete = {row["weak"]: row["organs"] for row in rows if row["arm"] == "refine"}
    for weak, name, aim in ((True, "Weak organs", 0.10), (False, "Other organs", 0.02)):
        gains, lost = {}, {}
        for row in rows:
            if row["weak"] == weak and "3" in row["dice"] and row["organs"] == complete[weak]:
                gains[row["arm"]] = row["dice"]["3"] - row["dice"]["0"]
                lost[row["arm"]] = row["lost"]
        if "refine" not in gains:
            continue
        rivals = {ARMS[arm]: gain for arm, gain in gains.items() if arm != "refine"}
        better = [f"{name} ({gain:+.3f})" for name, gain in rivals.items() if gain > gains["refine"]]
        met = {True: "met", False: "missed"}
        lines.append(f"- {name}: {gains['refine']:+.3f} after three strokes (aim {aim:+.2f}: "
                     f"{met[gains['refine'] >= aim]}); {lost['refine']} lost; "
                     f"better: {', '.join(better) or 'none of the others'}.")
    return lines


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}"


def _seconds(row: Mapping[str, Any]) -> str:
    return f"{_number(row['seconds_first'], 2)}, {_number(row['seconds_later'], 2)}"


def _seconds_of_arms(rows: Sequence[Mapping[str, Any]]) -> str:
    """How long the first answer took, each arm's median over organs."""
    texts = []
    for arm in ARMS:
        seconds = [row["seconds"][0] for row in rows if row["arm"] == arm and row["seconds"]]
        if seconds:
            texts.append(f"{ARMS[arm]} {median(seconds):.3g} s")
    return f"By the clock of a busy machine, the median: {', '.join(texts)}."


def _organs(rows: Sequence[Mapping[str, Any]], count: str) -> list[str]:
    """A start model and organ a row, an arm a column: Dice after so many strokes."""
    arms = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    cells = []
    for key in dict.fromkeys((row["model"], row["case"], row["organ"]) for row in rows):
        of_organ = {row["arm"]: row for row in rows if (row["model"], row["case"], row["organ"]) == key}
        first = next(iter(of_organ.values()))
        dice = [_after(of_organ, arm, count) for arm in arms]
        cells.append([key[0], key[1], key[2].replace("_", " "), _number(first["dice"]["0"], 3), *dice,
                      _after(of_organ, "refine", "10")])
    return table(("start model", "CT", "organ", "start", *(ARMS[arm] for arm in arms), "`refine` after 10"), cells)


def _after(arms: Mapping[str, Mapping[str, Any]], arm: str, count: str) -> str:
    """Dice after so many strokes; empty where that was not measured."""
    value = None
    if arm in arms:
        value = arms[arm]["dice"].get(count)
    return _number(value, 3)


def _speed(figures: Mapping[str, Any]) -> list[str]:
    cells = []
    for name, aim in (("first", 3), ("further", 2)):
        row = figures[name]
        cells.append([name, str(row["count"]), *(f"{row[key]['median']:.2f}, {row[key]['most']:.2f}"
                                                 for key in ("clock_s", "processor_s")), str(aim)])
    lines = table(("answer", "strokes", "clock, s: median, most", "processor, s: median, most", "aim, s"), cells)
    return [*lines, "", f"At its peak the process held {figures['mib']} MiB more than before the stroke "
                        f"({figures['cores']} cores; voxels of {' x '.join(str(mm) for mm in figures['mm'])} mm)."]


def _loop(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        corrected = [pair for organs in row["corrected"].values() for pair in organs.values()]
        before, after = (sum(pair[i] for pair in corrected) / len(corrected) for i in (0, 1))
        lines += [f"Sixth CT {row['next']}; corrected {', '.join(row['corrected'])}: {len(corrected)} organs, mean "
                  f"Dice {before:.3f} before the strokes, {after:.3f} as accepted. Fine-tuning took {row['steps']} "
                  "steps.", ""]
        learnt = {organ for organs in row["corrected"].values() for organ in organs}
        cells = []
        for name in sorted(row["dice"], key=lambda name: (name not in learnt, name)):
            title = {True: "learnt", False: "kept"}[name in learnt]
            start, taught = row["dice"][name]
            cells.append([title, name.replace("_", " "), f"{start:.3f}", f"{taught:.3f}", f"{taught - start:+.3f}"])
        gains = [row["dice"][name][1] - row["dice"][name][0] for name in learnt & set(row["dice"])]
        lines += [*table(("", "organ", "without", "with", "change"), cells), "",
                  f"Mean change of what was learnt: {sum(gains) / len(gains):+.3f}."]
        if row["steps"] < FEW_STEPS:
            lines[-1] += " With so few steps little can be learnt, as the run itself warned: nothing is shown by it."
        elif sum(gains) < LEAST_GAIN * len(gains):
            lines[-1] += " The five did not make the sixth better."
        lines.append("")
    return lines[:-1]


def _rank(figures: Mapping[str, Any]) -> list[str]:
    cells = []
    for name in figures:
        if name.startswith("first_") or name == "all":
            row = figures[name]
            cells.append([name.replace("_", " "), f"{row['start']:.3f}", f"{row['gain_ranked_slice']:+.4f}",
                          f"{row['gain_random_slice']:+.4f}", f"{row['noise']:.4f}"])
    intro = (f"{figures['organs']} organs of {figures['cts']} CTs ({', '.join(figures['cases'])}). Entropy against "
             f"missing Dice: Spearman's rho {figures['spearman_worth_error']:.2f}.")
    every = figures["all"]
    difference = every["gain_ranked_slice"] - every["gain_random_slice"]
    within = {True: "which is noise", False: "which is more than noise"}[abs(difference) <= every["noise"]]
    first = figures["first_10"]["gain_random_slice"] / max(every["gain_random_slice"], 1e-4)
    conclusion = (f"The ten organs ranked first gain {first:.1f} times as much of a stroke as an organ at random. The "
                  f"slice that is named gives {difference:+.4f} against one at random, {within}.")
    lines = table(("organs", "start", "ranked slice", "random slice", "noise of the difference"), cells)
    return [intro, "", *lines, "", conclusion]
