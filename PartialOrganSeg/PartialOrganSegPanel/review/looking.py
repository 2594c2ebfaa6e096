"""Looks for edits a moment after the last one: of a small CT at once, of a large one in pieces while nothing else is to
be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import qt

from ..scene.organ_rows import rows
from ..scene.voxel_counts import is_small, labelmap
from .logic import Review

Action = Callable[[], Generator[None, None, None] | None]
DONE = object()
LOOK_S = 0.03  # of a piece of looking for edits
SETTLE_MS = 500  # after the last of a series of edits, before they are counted


class Looking:
    """`review()`: what is looked at, None when there is nothing; `looked(changed)`: a look is done."""

    def __init__(self, widget: qt.QWidget, review: Callable[[], Review | None],
                 looked: Callable[[bool], None]) -> None:
        self._review, self._looked = review, looked
        self._work: Generator[None, None, None] | None = None  # what is left of a look and what follows it
        self._actions: list[Action] = []
        self._acting = False  # an action is in the midst of its pieces
        self._settle, self._idle = qt.QTimer(widget), qt.QTimer(widget)
        for timer, wait_ms, action in ((self._settle, SETTLE_MS, self.look), (self._idle, 0, self._go_on)):
            timer.setSingleShot(True)
            timer.setInterval(wait_ms)
            timer.connect("timeout()", action)

    @property
    def active(self) -> bool:
        """Whether a look goes on or will follow."""
        return bool(self._settle.active or self._idle.active)

    def soon(self) -> None:
        """An edit: looks when no other follows for a moment."""
        self._settle.start()

    def stop(self) -> None:
        """Drops what is left; the next look makes up for it."""
        self._settle.stop()
        self._idle.stop()
        self._work, self._actions, self._acting = None, [], False

    def when_recorded(self, action: Action) -> None:
        """Does something when all edits until now are recorded: at once for a small CT. What it gives, if anything, is
        work in pieces."""
        self._actions.append(action)
        self.look()

    def look(self) -> None:
        """Looks now."""
        self._settle.stop()
        if self._acting:  # it would lose its pieces; a look follows it
            return
        review = self._at_hand()
        if review is None:
            return
        self._work = self._look_and_act(review)
        if _is_small(review):
            self._go_on()
        else:  # what led here, a result or an undo, has taken its part of the time already
            self._idle.start()

    def _look_and_act(self, review: Review) -> Generator[None, None, None]:
        changed = yield from review.look_steps()
        self._looked(changed)
        while self._actions:
            self._acting = True
            try:
                pieces = self._actions.pop(0)()
                yield
                if pieces is not None:
                    yield from pieces
            finally:
                self._acting = False
            # the action has changed something that the next one must find recorded
            self._looked((yield from review.look_steps()))

    def _at_hand(self) -> Review | None:
        review = self._review()
        if review is None or review.segmentation is None:
            return None
        return review

    def _go_on(self) -> None:
        review = self._at_hand()
        if review is None:  # it went between two pieces
            self.stop()
            return
        end = time.monotonic() + LOOK_S
        small, in_time = _is_small(review), True
        work = self._work
        while work is not None and work is self._work and in_time:
            if next(work, DONE) is DONE and work is self._work:
                self._work = None
            in_time = small or time.monotonic() < end
        if self._work is not None and not self._idle.active:
            self._idle.start()


def _is_small(review: Review) -> bool:
    segments = review.segmentation.GetSegmentation()
    images = [labelmap(segments.GetSegment(row.segment_id)) for row in rows(review.segmentation)]
    return all(image is None or is_small(image) for image in images)
