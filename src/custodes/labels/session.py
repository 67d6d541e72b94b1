"""The state of a labelling: what each annotator sees next, and the file of their answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from filelock import FileLock, Timeout

from custodes.data.labels import Choice, Label, labels_of
from custodes.data.tables import Row, Table
from custodes.errors import DataError, RunError
from custodes.labels.items import Item, Showing, left_side, schedule
from custodes.runs.files import dumps, explain_disk, write_atomic
from custodes.runs.log import Log

__all__ = ["Press", "Session", "StaleError"]

Press = Literal["left", "right", "tie", "skip"]
PRESSES: tuple[Press, ...] = get_args(Press)


class StaleError(Exception):
    """An answer to an item that is not the annotator's current one: it was not recorded."""


class Session:
    """A labelling, open for answers of several annotators at once. Use it as a context manager.

    Every answer is on disk before the next item is given out. Started again on the same file, it
    goes on where it ended, however it ended.

    Attributes:
        items: The items.
        path: The file of labels, JSON lines.
        labels: All labels of the file, in order.
        torn: Size in bytes of a torn last line that was dropped; 0 if there was none.

    Raises:
        RunError: Another process has the file open, or it cannot be written.
        DataError: The file has labels of other items.
    """

    def __init__(
        self, items: Sequence[Item], path: Path, *, seed: int = 0, repeats: float = 0.1
    ) -> None:
        self.items, self.path, self._seed = tuple(items), path, seed
        self._showings = schedule(self.items, seed=seed, repeats=repeats)
        self._mutex = threading.Lock()
        with explain_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), thread_local=False)
        try:
            with explain_disk(path):
                self._lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"{path} is open in another custodes label",
                "use its page, end it, or choose another file with --out",
            ) from error
        try:
            self._log = Log(path)
            self.torn = self._log.torn
            self.labels = self._read()
        except BaseException:
            self._lock.release()
            raise

    def _read(self) -> list[Label]:
        rows = (
            Row(f"{self.path} line {n}", {k: v for k, v in row.items() if v is not None})
            for n, row in enumerate(self._log.rows, start=1)
        )
        labels = labels_of(Table(str(self.path), self.path.stem, rows))
        known = {item.id: item for item in self.items}
        for n, label in enumerate(labels, start=1):
            item = known.get(label.item)
            texts = {label.chosen, label.rejected} - {None}
            if item is None or not texts <= {item.a, item.b}:
                raise DataError(
                    f"{self.path} line {n} is about an item that the data does not have",
                    "choose another file with --out, or name the data it was made from",
                )
        return labels

    def current(self, annotator: str) -> tuple[Showing, Literal["a", "b"]] | None:
        """Return what an annotator is to see, and its answer on the left; None at the end."""
        done = {(label.item, label.repeat): label for label in self.of(annotator)}
        for showing in self._showings:
            item = showing.item
            first = done.get((item.id, False))
            if (item.id, showing.repeat) in done or (
                showing.repeat and first is not None and first.choice == "skip"
            ):
                continue
            if not showing.repeat:
                return showing, left_side(item, annotator, self._seed)
            if first is None:  # undone, or begun with another seed: it comes first
                return Showing(item, False), left_side(item, annotator, self._seed)
            return showing, "b" if first.left == "a" else "a"
        return None

    def of(self, annotator: str) -> list[Label]:
        """Return an annotator's labels, in order."""
        return [label for label in self.labels if label.annotator == annotator]

    def state(self, annotator: str) -> dict[str, Any]:
        """Return what the page shows, JSON-ready. It does not say which answer is which."""
        own = self.of(annotator)
        skipped = {label.item for label in own if label.choice == "skip"}
        total = sum(not (s.repeat and s.item.id in skipped) for s in self._showings)
        state: dict[str, Any] = {
            "annotator": annotator,
            "done": len(own),
            "total": max(total, len(own)),
            "undo": f"{own[-1].item}|{int(own[-1].repeat)}" if own else None,
            "item": None,
        }
        current = self.current(annotator)
        if current is not None:
            showing, left = current
            a, b = showing.item.a, showing.item.b
            state["item"] = {
                "key": showing.key,
                "prompt": list(showing.item.prompt),
                "left": a if left == "a" else b,
                "right": b if left == "a" else a,
            }
        return state

    def answer(self, annotator: str, key: str, press: Press, seconds: float) -> None:
        """Record an answer, and wait until it is on disk.

        Args:
            annotator: Name of the annotator.
            key: The item that was shown, ``state()["item"]["key"]``.
            press: The answer.
            seconds: Time that the annotator took.

        Raises:
            StaleError: The annotator's current item is another one (a second page was faster).
            RunError: The disk is full; nothing was recorded.
        """
        with self._mutex:
            current = self.current(annotator)
            if current is None or current[0].key != key:
                raise StaleError
            showing, left = current
            right: Literal["a", "b"] = "b" if left == "a" else "a"
            sides: dict[Press, Choice] = {
                "left": left,
                "right": right,
                "tie": "tie",
                "skip": "skip",
            }
            choice, item = sides[press], showing.item
            texts = {"a": (item.a, item.b), "b": (item.b, item.a)}.get(choice, (None, None))
            label = Label(
                item=item.id,
                annotator=annotator,
                choice=choice,
                left=left,
                prompt=item.prompt,
                chosen=texts[0],
                rejected=texts[1],
                repeat=showing.repeat,
                order=len(self.of(annotator)) + 1,
                seconds=round(seconds, 2),
                time=datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
                seed=self._seed,
            )
            self._log.append([label.to_row()])
            self.labels.append(label)

    def undo(self, annotator: str, key: str) -> None:
        """Take back an annotator's last answer; its item is shown again.

        Args:
            annotator: Name of the annotator.
            key: The answer to take back, ``state()["undo"]``.

        Raises:
            StaleError: The annotator's last answer is another one.
        """
        with self._mutex:
            own = self.of(annotator)
            if not own or f"{own[-1].item}|{int(own[-1].repeat)}" != key:
                raise StaleError
            place = next(n for n, label in enumerate(self.labels) if label is own[-1])
            kept = self.labels[:place] + self.labels[place + 1 :]
            # Another annotator may have answered since, so this is no truncation.
            rows = self._log.rows[:place] + self._log.rows[place + 1 :]
            content = "".join(dumps(row) + "\n" for row in rows)
            self._log.close()
            try:
                write_atomic(self.path, content)
                self.labels = kept
            finally:
                self._log = Log(self.path)

    def close(self) -> None:
        """Close the file."""
        self._log.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
