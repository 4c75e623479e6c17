"""The progress of a pull: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

import click

from llmd.config.size_text import duration_text, size_text
from llmd.store.pull_event import (
    Advanced,
    Checking,
    Chosen,
    Damaged,
    Finished,
    HubAway,
    Interrupted,
    Joined,
    PullEvent,
)

LINE_INTERVAL = 10.0
"""Seconds between two lines about the same file, where there is no terminal."""


BAR_INTERVAL = 0.1


class PullProgress(ABC):
    """Told of each event of a pull, by calling it; a context for as long as the pull takes."""

    def __init__(self) -> None:
        self._num_done = 0
        self._num_bytes = 0
        self._paths: list[str] = []

    def __call__(self, event: PullEvent) -> None:
        match event:
            case Chosen():
                self._num_done, self._num_bytes = event.num_present, event.num_bytes
                self._paths = [file.path for file in event.files]
                self.say(_chosen_text(event))
                self.begin()
            case Advanced():
                self._num_done = event.total_done
                self.advance(event.path)
            case Finished():
                self.finish(event.path)
            case Joined():
                self.say(f"{event.path}: another process is getting it; waiting for that")
            case Interrupted():
                self.say(f"{event.path}: {event.reason} Goes on in {event.delay:.0f} s")
            case Checking():
                self.say(f"{event.path}: checking {size_text(event.num_bytes)} that are here")
            case Damaged():
                self.say(f"{event.path}: damaged, and removed; it comes again")
            case HubAway():
                self.say(f"{event.reason} {event.reference} is taken as it is here")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def so_far(self) -> str:
        """How much has come, for the last line of a pull that was stopped."""
        if not self._num_bytes:
            return ""
        return f" at {self._num_done / self._num_bytes:.0%} of {size_text(self._num_bytes)}"

    @abstractmethod
    def say(self, text: str) -> None: ...

    @abstractmethod
    def begin(self) -> None: ...

    @abstractmethod
    def advance(self, path: str) -> None: ...

    @abstractmethod
    def finish(self, path: str) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Leave the terminal as it was. Idempotent."""


class BarProgress(PullProgress):
    """One bar for all files of the pull, with rate and remaining time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._clock = clock
        self._drawn = -BAR_INTERVAL
        self._console = Console(highlight=False, markup=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:.0f}%"),
            TextColumn("{task.fields[size]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            expand=True,
        )

    def say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def begin(self) -> None:
        if self._num_done < self._num_bytes:
            # What was here before is no part of the rate.
            self._bar.add_task(
                "", total=self._num_bytes, completed=self._num_done, size="", rate=""
            )
            self._bar.start()

    def advance(self, path: str) -> None:
        now = self._clock()
        if now - self._drawn >= BAR_INTERVAL:
            self._drawn = now
            self._draw(path)

    def finish(self, path: str) -> None:
        self._draw(path)

    def close(self) -> None:
        self._bar.stop()

    def _draw(self, path: str) -> None:
        for task in self._bar.tasks:
            # Names of models are too long to stand beside a bar.
            place = f"{self._paths.index(path) + 1} of {len(self._paths)}"
            self._bar.update(
                task.id,
                completed=self._num_done,
                description=place if len(self._paths) > 1 else "",
                size=f"{size_text(self._num_done)} of {size_text(self._num_bytes)}",
                rate=f"{size_text(task.speed)}/s" if task.speed else "",
            )


class LineProgress(PullProgress):
    """A line now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last = (clock(), 0)

    def say(self, text: str) -> None:
        click.echo(text)

    def begin(self) -> None:
        self._last = (self._clock(), self._num_done)

    def advance(self, path: str) -> None:
        now, (then, before) = self._clock(), self._last
        if now - then < LINE_INTERVAL:
            return
        rate = (self._num_done - before) / (now - then)
        self._last = (now, self._num_done)
        left = (self._num_bytes - self._num_done) / rate if rate else 0.0
        click.echo(
            f"{path}: {self._num_done / self._num_bytes:.0%} of {size_text(self._num_bytes)}, "
            f"{size_text(rate)}/s, {duration_text(left)} left"
        )

    def finish(self, path: str) -> None:
        click.echo(f"{path}: here and checked")

    def close(self) -> None:
        """Lines leave nothing behind."""


def open_progress() -> PullProgress:
    """As standard output is a terminal on which lines can be drawn again, or not."""
    draws = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return BarProgress() if draws else LineProgress()


def _chosen_text(chosen: Chosen) -> str:
    num_files = len(chosen.files)
    parts = [
        f"{chosen.reference}: {num_files} file{'' if num_files == 1 else 's'}",
        size_text(chosen.num_bytes),
        f"licence {chosen.license or 'not told'}",
    ]
    if chosen.projector:
        parts.append(f"projector {chosen.projector}")
    if chosen.num_present == chosen.num_bytes:
        parts.append("all here already")
    elif chosen.num_present:
        parts.append(f"{size_text(chosen.num_present)} here already")
    return ", ".join(parts)
