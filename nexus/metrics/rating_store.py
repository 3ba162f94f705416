"""The answers of a listening or viewing test, in one SQLite file beside the media; each is on disk before the next."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from nexus.metrics.rating import Answer, Test, Trial

FILE = "ratings.sqlite"
VERSION = 1
_TABLES = """
create table if not exists about (key text primary key, value text not null);
create table if not exists rater (name text primary key, begun text not null);
create table if not exists answer (
    rater text not null references rater (name), trial integer not null, place integer not null,
    system text not null, item text not null, role text not null, score real not null, given text not null,
    primary key (rater, trial, place));
"""


class RatingStore:
    """Opened anew for every operation, so that threads share nothing and a crash loses nothing."""

    def __init__(self, path: Path):
        self.path = path

    def begin(self, test: Test, digests: Mapping[str, str]) -> None:
        """Begins a test, or goes on with it.

        digests: SHA-256 by file, so that a rater never goes on with other media than they began with.

        Raises:
            ValueError: the file holds another test, or one of other media; says what differs.
        """
        with self._open() as db:
            db.executescript(_TABLES)
            about = dict(db.execute("select key, value from about"))
            if not about:
                rows = {"version": VERSION, "test": asdict(test), "digests": dict(digests)}
                db.executemany("insert into about values (?, ?)", [(k, json.dumps(v)) for k, v in rows.items()])
                return
        begun = _test(about)
        unlike = [name for name, value in asdict(begun).items() if value != asdict(test)[name]]
        if unlike:
            raise ValueError(
                f"{self.path} holds a test of other {', '.join(unlike)}; go on with the same, or move that file away"
            )
        changed = sorted(k for k, v in json.loads(about["digests"]).items() if digests.get(k) != v)
        if changed:
            raise ValueError(
                f"{len(changed)} files have changed since the test began, such as {changed[0]}; put them back, "
                f"or move {self.path} away and begin again"
            )

    def test(self) -> Test | None:
        """What is rated; None where no test was begun. Makes no file."""
        if not self.path.exists():
            return None
        with self._open() as db:
            if not db.execute("select 1 from sqlite_master where name = 'about'").fetchone():
                return None
            about = dict(db.execute("select key, value from about"))
        return _test(about) if about else None

    def join(self, rater: str) -> None:
        """A new rater, or one who comes back."""
        with self._open() as db:
            db.execute("insert or ignore into rater values (?, ?)", (rater, _now()))

    def raters(self) -> tuple[str, ...]:
        with self._open() as db:
            return tuple(name for (name,) in db.execute("select name from rater order by begun, name"))

    def done(self, rater: str) -> int:
        """How many trials the rater has answered, which is the number of the next."""
        with self._open() as db:
            (count,) = db.execute("select count(distinct trial) from answer where rater = ?", (rater,)).fetchone()
            return int(count)

    def answer(self, rater: str, number: int, trial: Trial, scores: Sequence[float | int]) -> bool:
        """Keeps the scores of one trial, one a stimulus, all or none; False if it was answered before (a reload)."""
        if len(scores) != len(trial.stimuli):
            raise ValueError(f"trial {number} needs {len(trial.stimuli)} scores, got {len(scores)}")
        rows = [
            (rater, number, place, stimulus.system, stimulus.item, stimulus.role, float(score), _now())
            for place, (stimulus, score) in enumerate(zip(trial.stimuli, scores, strict=True))
        ]
        try:
            with self._open() as db:
                db.executemany("insert into answer values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.IntegrityError:
            return False
        return True

    def answers(self) -> tuple[Answer, ...]:
        with self._open() as db:
            rows = db.execute("select rater, trial, system, item, role, score from answer order by rater, trial, place")
            return tuple(
                Answer(rater=rater, trial=trial, system=system, item=item, role=role, score=score)
                for rater, trial, system, item, role, score in rows
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction. SQLite's own errors say what is the matter with the file."""
        try:
            with closing(sqlite3.connect(self.path, timeout=10)) as db, db:
                db.execute("pragma foreign_keys = on")
                yield db
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path} is not a file of ratings, or is damaged: {error}") from error


def _test(about: Mapping[str, str]) -> Test:
    version = json.loads(about["version"])
    if version != VERSION:
        raise ValueError(f"the ratings are of version {version}, and this nexus reads version {VERSION}")
    kept = json.loads(about["test"])
    return Test(**{**kept, "systems": tuple(kept["systems"]), "items": tuple(kept["items"])})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
