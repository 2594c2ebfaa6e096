"""Which files of tests take longest: begun first, since a process takes a whole file at a time."""

from __future__ import annotations

# Half a minute of the clock and more each, the longest first. One of them begun last would run alone at the end, the
# other processes idle.
LONGEST_FIRST = (
    "formats/test_faults.py",  # first: it forks hundreds of times, which is quicker while the process is small
    "batch/test_cluster.py",
    "batch/test_limits.py",
    "slicer/finetune/test_walk.py",
    "test_kills.py",
    "docs/test_page_blocks.py",
    "docs/test_docs_build.py",
    "models/test_onnx_export.py",
    "scripts/test_reproduce.py",
    "training/test_recipes.py",
    "slicer/finetune/test_finetune_real.py",
    "slicer/segment/test_segment_real.py",
    "training/test_loader_processes.py",
    "finetuning/test_time_keeping.py",
    "networks/test_registered.py",
    "segmenting/test_precision.py",
    "segmenting/test_predictor.py",
    "slicer/export/test_export.py",
    "finetuning/test_finetuning.py",
    "models/test_monai_bundle.py",
    "slicer/test_screenshots.py",
    "training/test_trainer.py",
    "batch/test_processes.py",
    "training/test_parts.py",
    "training/test_pretend_device.py",
    "training/test_distributed.py",
    "test_wheel.py",
)


def start_of(test: str) -> int:
    """When the file of a test, `Testing/FILE::NAME`, is to begin: its place among the longest, or after them all."""
    file = test.partition("::")[0].removeprefix("Testing/")
    if file in LONGEST_FIRST:
        return LONGEST_FIRST.index(file)
    return len(LONGEST_FIRST)
