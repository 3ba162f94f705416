"""Serves a listening or viewing test to browsers on this machine, and to nobody else."""

import base64
import errno
import hashlib
import mimetypes
import re
import sys
import tempfile
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from nexus.cli import rating_pages as pages
from nexus.metrics.anchors import write_anchor
from nexus.metrics.rating import ANCHOR, Stimulus, Test, Trial, session
from nexus.metrics.rating_set import MediaSet
from nexus.metrics.rating_store import RatingStore

HOST = "127.0.0.1"
LARGEST_FORM = 65_536  # bytes
YEAR = 365 * 24 * 3600  # seconds a browser remembers who rates
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(pages.SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_SCRIPT_HASH}'; media-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class RatingServer(ThreadingHTTPServer):
    """Listens on 127.0.0.1; `server_close` removes the degraded clips it made.

    Raises:
        OSError: the port is taken, or not ours to take.
    """

    def __init__(self, port: int, test: Test, media: MediaSet, store: RatingStore):
        self.test, self.media, self.store = test, media, store
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            why = "taken by another program" if error.errno == errno.EADDRINUSE else (error.strerror or "").lower()
            raise OSError(f"port {port} is {why}; choose another with --port, or 0 for any that is free") from error
        self._anchors = tempfile.TemporaryDirectory()
        self._making = threading.Lock()
        self._closed = False

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def file(self, stimulus: Stimulus) -> Path:
        """What is played; a degraded clip is made when it is first asked for."""
        source = self.media.folder / stimulus.source / stimulus.item
        if stimulus.system != ANCHOR:
            return source
        to = self.anchor(stimulus)
        with self._making:
            if not to.exists():
                write_anchor(source, to, "low_passed" if self.test.kind == "mushra" else "noisy")
        return to

    def anchor(self, stimulus: Stimulus) -> Path:
        """Where the degraded version of a clip is, or will be."""
        name = hashlib.sha256(f"{stimulus.source}/{stimulus.item}".encode("utf-8", "surrogatepass")).hexdigest()
        return Path(self._anchors.name) / f"{name}{Path(stimulus.item).suffix}"

    def prepare(self, trials: Sequence[Trial]) -> None:
        """Makes all degraded clips of a session before its first page: one that is late would give itself away."""
        for trial in trials:
            for stimulus in trial.stimuli:
                self.file(stimulus)

    def server_close(self) -> None:
        self._closed = True
        super().server_close()
        if hasattr(self, "_anchors"):
            self._anchors.cleanup()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of a clip is no error, nor is one that asks while we close."""
        if not self._closed and not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    @property
    def rating(self) -> RatingServer:
        assert isinstance(self.server, RatingServer)
        return self.server

    def do_GET(self) -> None:
        if not self._from_here():
            return
        if self.path == "/":
            self._page()
        elif match := re.fullmatch(r"/media/(\d{1,6})/(\d{1,2}|reference)", self.path):
            self._clip(int(match[1]), match[2])
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if not self._from_here():
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_FORM:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        form = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"), keep_blank_values=True)
        fields = {name: values[0] for name, values in form.items()}
        actions = {"/rater": self._join, "/answer": self._answer, "/leave": lambda _: self._home("", 0)}
        if action := actions.get(self.path):
            return action(fields)
        return self._refuse(HTTPStatus.NOT_FOUND)

    def _from_here(self) -> bool:
        """Whether the page asking is ours: no other site may use the rater's browser to reach us."""
        ours = {f"{name}:{self.rating.server_port}" for name in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in ours and (origin is None or origin.removeprefix("http://") in ours):
            return True
        self._refuse(HTTPStatus.FORBIDDEN)
        return False

    def _rater(self) -> str | None:
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("rater")
        name = unquote(cookie.value) if cookie else ""
        return name if name in self.rating.store.raters() else None

    def _page(self) -> None:
        rater, test = self._rater(), self.rating.test
        if rater is None:
            return self._send(pages.welcome(test))
        trials, number = session(test, rater), self.rating.store.done(rater)
        if number >= len(trials):
            return self._send(pages.finished(rater, len(trials)))
        self.rating.prepare(trials)
        return self._send(pages.trial_page(test, trials[number], number, len(trials), rater))

    def _join(self, fields: dict[str, str]) -> None:
        name = " ".join(fields.get("name", "").split())
        if not name or len(name) > pages.LONGEST_NAME or not name.isprintable():
            said = f"Give a name of 1 to {pages.LONGEST_NAME} letters."
            return self._send(pages.welcome(self.rating.test, said), HTTPStatus.BAD_REQUEST)
        self.rating.store.join(name)
        return self._home(name, YEAR)

    def _answer(self, fields: dict[str, str]) -> None:
        """Keeps an answer to the page that is due; one to an earlier page (a reload) leads on to the page due."""
        rater = self._rater()
        if rater is None:
            return self._home("", 0)
        trials, number = session(self.rating.test, rater), self.rating.store.done(rater)
        if fields.get("trial") == str(number) and number < len(trials):
            scores = scores_of(self.rating.test, trials[number], fields)
            if scores is None:
                return self._refuse(HTTPStatus.BAD_REQUEST)
            self.rating.store.answer(rater, number, trials[number], scores)
        return self._home(rater, YEAR)

    def _clip(self, number: int, place: str) -> None:
        """A clip of the page that is due; clips of other pages are not given, and none by its name."""
        rater = self._rater()
        trials = session(self.rating.test, rater) if rater is not None else ()
        if rater is None or number != self.rating.store.done(rater) or number >= len(trials):
            return self._refuse(HTTPStatus.NOT_FOUND)
        stimuli, test = trials[number].stimuli, self.rating.test
        if place == "reference" and test.kind == "mushra" and test.reference is not None:
            stimulus = Stimulus(test.reference, stimuli[0].item, "reference", test.reference)
        elif place.isdecimal() and int(place) < len(stimuli):
            stimulus = stimuli[int(place)]
        else:
            return self._refuse(HTTPStatus.NOT_FOUND)
        path = self.rating.file(stimulus)
        return self._send_part(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")

    def _send_part(self, data: bytes, kind: str) -> None:
        """The whole, or the range a player seeks to (RFC 9110, section 14)."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._send(data, kind=kind)
        start, stop = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else len(data), len(data))
        if start >= stop:
            return self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        where = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
        return self._send(data[start:stop], HTTPStatus.PARTIAL_CONTENT, kind, where)

    def _home(self, rater: str, seconds: int) -> None:
        cookie = f"rater={quote(rater, safe='')}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict"
        self._send(b"", HTTPStatus.SEE_OTHER, more={"Location": "/", "Set-Cookie": cookie})

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(f"{status.value} {status.phrase}\n".encode(), status, "text/plain; charset=utf-8")

    def _send(
        self,
        data: bytes,
        status: HTTPStatus = HTTPStatus.OK,
        kind: str = "text/html; charset=utf-8",
        more: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(data)), "Accept-Ranges": "bytes"}
        headers |= {"Cache-Control": "no-store", "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        for name, value in (headers | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def version_string(self) -> str:
        return "nexus"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: standard error is for what goes wrong."""


def scores_of(test: Test, trial: Trial, fields: dict[str, str]) -> tuple[float, ...] | None:
    """The scores in an answered form, one a stimulus; None where one is missing or out of range."""
    if test.kind == "ab":
        chosen = fields.get("chosen")
        return None if chosen not in ("0", "1") else tuple(float(chosen == str(place)) for place in (0, 1))
    low, high = (1, 5) if test.kind == "mos" else (0, 100)
    scores = [fields.get(f"score{place}", "") for place in range(len(trial.stimuli))]
    if not all(score.isdecimal() and len(score) < 4 and low <= int(score) <= high for score in scores):
        return None
    return tuple(float(score) for score in scores)
