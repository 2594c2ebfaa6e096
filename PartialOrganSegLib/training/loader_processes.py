"""Mini-batches drawn in processes beside the training: what goes wrong there ends the run with one line, and no process
stays behind."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait

import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import Code, Problem, UserError
from ..loading.sampling import PatchSampler
from ..loading.targets import Targets
from .interrupts import ignore_in_worker

# Mini-batches that each loader process is ahead.
PREFETCH = 4
_END_S = 5.0  # for a process that was killed to be gone
_HELP = "give the system more shared memory (of a container: --shm-size), or set fewer workers or workers=0"


@contextlib.contextmanager
def loaded_batches(sampler: PatchSampler, draws: Sequence[list[int]], workers: int) -> Iterator[Iterator[Targets]]:
    """Yields the mini-batches of the draws, each a list of patch numbers, loaded by `workers` processes (0: by this
    one), which end with the block.

    Raises UserError, anywhere in the block, where one of them dies, where shared memory runs out and where a cached
    file cannot be read.
    """
    earlier = set(multiprocessing.active_children())
    # A generator of its own: making the iterator draws from it, and the global one must not depend on resuming.
    loader = DataLoader(_Patches(sampler), batch_sampler=draws, num_workers=workers, worker_init_fn=_quiet_worker,
                        collate_fn=_shared if workers else _joined, generator=torch.Generator(),
                        prefetch_factor=PREFETCH if workers else None)
    iterator = iter(loader)
    processes = set(multiprocessing.active_children()) - earlier
    try:
        yield map(_mini_batch, iterator)
    except (RuntimeError, ConnectionError, EOFError) as error:
        text = str(error)
        # A mini-batch is asked of the process that loaded it, which may have died since.
        one_died = tells_of_dead_loader(error) if isinstance(error, RuntimeError) else _one_has_died(processes)
        if not one_died:
            raise
        # What writing to shared memory that is full ends in.
        reason = "shared memory ran out" if "Bus error" in text else "perhaps for lack of memory"
        raise UserError(code=Code.NO_MEMORY, subject="workers", expected="loader processes that live",
                        found=f"one that died, {reason}", hint=_HELP) from error
    finally:
        _end(iterator, processes)


def tells_of_dead_loader(error: Exception) -> bool:
    """Whether PyTorch's signal handler raised it, which it may in the middle of anything: where a loader process dies.
    """
    # Its only mark is the text; "Caught" is what a living one sends of an error of its own.
    text = str(error)
    return isinstance(error, RuntimeError) and "DataLoader worker" in text and "Caught " not in text


@dataclass(frozen=True)
class _Failure:
    """What a process sends instead of a mini-batch that could not be loaded."""

    problem: Problem


_Loaded = Targets | _Failure


class _Patches(Dataset[_Loaded]):
    """The sampler's patches, and problems instead of those that cannot be read."""

    def __init__(self, sampler: PatchSampler) -> None:
        self._sampler = sampler

    def __getitem__(self, number: int) -> _Loaded:
        try:
            return self._sampler[number][0]
        except (OSError, EOFError, ValueError) as error:
            return _Failure(Problem(Code.NOT_READABLE, self._sampler.describe_case(number),
                                    "cached files that can be read", str(error) or type(error).__name__,
                                    "go on with --resume: damaged ones are made anew"))
        except MemoryError:
            return _Failure(Problem(Code.NO_MEMORY, "workers", found="a loader process is out of memory",
                                    hint="set fewer workers"))


def _joined(loaded: Sequence[_Loaded]) -> _Loaded:
    targets = []
    for patch in loaded:
        if isinstance(patch, _Failure):
            return patch
        targets.append(patch)
    return Targets.joined(targets)


def _shared(loaded: Sequence[_Loaded]) -> _Loaded:
    """A mini-batch in shared memory, or the problem that there is none left."""
    batch = _joined(loaded)
    if isinstance(batch, _Failure):
        return batch
    # Left to PyTorch, this fails in a thread behind everybody's back, and the training waits for ever.
    try:
        return batch.shared()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        return _Failure(Problem(Code.NO_MEMORY, "workers", "room for mini-batches in shared memory",
                                f"none left ({reason})", _HELP))


def _mini_batch(loaded: _Loaded) -> Targets:
    """The mini-batch. Raises UserError for a problem."""
    if isinstance(loaded, _Failure):
        raise UserError(loaded.problem)
    return loaded


def _one_has_died(processes: Collection[multiprocessing.process.BaseProcess]) -> bool:
    """Whether one has ended. Its connections close a moment before it does, so a moment is waited."""
    try:
        return bool(processes) and bool(wait([process.sentinel for process in processes], _END_S))
    except RuntimeError:  # of PyTorch's signal handler, which says so itself
        return True


def _end(iterator: object, processes: Collection[multiprocessing.process.BaseProcess]) -> None:
    """Ends the loader processes, whatever state they are in."""
    # Else PyTorch does it when the iterator goes, which a traceback may keep; until then it takes a process that ends
    # for one that has failed.
    shut_down = getattr(iterator, "_shutdown_workers", None)
    if shut_down is not None:
        # The signal handler that tells of a dead process may strike here again. It is told already, or the block has
        # all that it wanted.
        with contextlib.suppress(RuntimeError):
            shut_down()
    # They leave signals to this process, and so may not have ended by those that PyTorch sent them.
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join(_END_S)


def _quiet_worker(_worker: int) -> None:
    """Loader processes leave signals to the main one and compute with one thread."""
    ignore_in_worker()
    torch.set_num_threads(1)
