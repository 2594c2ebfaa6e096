"""The folder of a fine-tuning run: what may lie in it before, and that one process at a time works in it."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import Code, UserError
from ..loading.locking import held_alone
from ..models.bundle import Bundle
from ..outputs import missing_folders, remove_empty
from ..real_paths import real_path
from ..training.recipe import MODEL_FOLDER, RECIPE_FILE
from ..training.run_files import OVERLAPS_FILE
from .plan import PLAN_FILE

RESULT_FILE, LAST = "result.json", Path("checkpoints", "last.pt")
MANIFEST_FILE, LABEL_SPACE_FILE = "manifest.yaml", "label_space.json"
CASES_FOLDER, REPLAY_FOLDER = "cases", "replay"
LOOKS_FOLDER = "looks"  # what the start model and the new one find in CTs
LOCK_FILE = ".lock"
RESULTS: tuple[str, ...] = (RESULT_FILE, MODEL_FOLDER)
PREPARED = (PLAN_FILE, MANIFEST_FILE, LABEL_SPACE_FILE, RECIPE_FILE, CASES_FOLDER, REPLAY_FOLDER, LOOKS_FOLDER)
WRITTEN = (*PREPARED, "cache", "log.jsonl", "events", "checkpoints", OVERLAPS_FILE)


def check_new(run: Path, start: Bundle, data: Path) -> None:
    """Raises UserError where a new run in `run` would write over the start model, the data or anything else.

    A run that never came to a checkpoint may be begun anew: something in its settings may have been wrong. Its lock
    file shows that it is one, as that is only made where all this was in order.
    """
    if real_path(start.folder) in (real_path(run), real_path(run / MODEL_FOLDER)) or (
            real_path(start.folder) in real_path(run).parents):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=run, expected="a run folder apart from the start model",
                        found=f"it in {start.folder}")
    if real_path(run) in (real_path(data), real_path(data).parent):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=run, expected="a run folder apart from the data",
                        found=f"{data} there", hint="choose another -o")
    if (run / LAST).exists():
        content, hint = "another run's checkpoint", "choose another -o"
        if (run / PLAN_FILE).exists():
            content, hint = "a run", "add --resume or another -o"
        raise UserError(code=Code.FILE_EXISTS, subject=run, expected="a new run folder", found=content, hint=hint)
    names = RESULTS
    # No run of this program began here, so all of it is someone's.
    if not (run / LOCK_FILE).exists():
        names = (*RESULTS, *WRITTEN)
    existing = [name for name in names if (run / name).exists()]
    if existing:
        raise UserError(code=Code.FILE_EXISTS, subject=run, expected="a new run folder",
                        found=f"{', '.join(existing)} in it, which a run would write over", hint="choose another -o")


@contextlib.contextmanager
def working_in(run: Path) -> Iterator[None]:
    """Makes the folder `run`; inside, no other process works in it. Where nothing of a run stays, this goes again.

    Raises UserError where it cannot be made or written into, and where another process is at work.
    """
    new_folders = missing_folders(run)
    with contextlib.ExitStack() as held:
        try:
            run.mkdir(parents=True, exist_ok=True)
            held.enter_context(held_alone(run / LOCK_FILE))
        except BlockingIOError:
            raise UserError(code=Code.FOLDER_IN_USE, subject=run, expected="no run at work in this folder",
                            found="one", hint="wait for it or choose another -o") from None
        except OSError as error:
            obstacle = "a file" if run.is_file() else error.strerror or error
            raise UserError(code=Code.NOT_WRITABLE, subject=run,
                            expected="a run folder that can be made and written into", found=obstacle) from None
        try:
            yield
        finally:
            # Open files stay there; elsewhere the lock goes while it is held.
            if sys.platform == "win32":
                held.close()
            _remove_unused(run, new_folders)


@contextlib.contextmanager
def nothing_half_prepared(run: Path) -> Iterator[None]:
    """Where what is inside, a preparation, does not come to its end, what it wrote goes again."""
    try:
        yield
    except BaseException:
        for path in (run / name for name in PREPARED):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
        raise


def _remove_unused(run: Path, new_folders: Sequence[Path]) -> None:
    """Removes the lock file where nothing of a run is in the folder, and the folders that were made for it."""
    if any((run / name).exists() for name in (*RESULTS, *WRITTEN)):
        return
    with contextlib.suppress(OSError):
        (run / LOCK_FILE).unlink()
    remove_empty(new_folders)
