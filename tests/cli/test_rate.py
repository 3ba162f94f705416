"""`nexus eval rate`: the server as a browser without scripts sees it, the command, and its outcome."""

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

import pytest

from nexus.cli.rate import read_results, show
from nexus.cli.rating_server import RatingServer
from nexus.metrics.rating import session
from nexus.metrics.rating_store import RatingStore

SYSTEMS, ITEMS = ("first-system", "second-system", "natural"), ("item-one.wav", "item-two.wav")


class Browser:
    def __init__(self, server):
        self.address, self.cookies = server.address, CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def get(self, path="", **headers):
        with self.opener.open(urllib.request.Request(self.address + path, headers=headers)) as reply:
            return reply.status, dict(reply.headers), reply.read()

    def post(self, path, headers=None, **fields):
        data = urllib.parse.urlencode(fields).encode()
        with self.opener.open(urllib.request.Request(self.address + path, data, headers or {})) as reply:
            return reply.read().decode()

    def page(self):
        return self.get()[2].decode()


def refused(call, *arguments, **keywords):
    with pytest.raises(urllib.error.HTTPError) as caught:
        call(*arguments, **keywords)
    with caught.value as error:
        return error.code


def rate_all(browser, server, rater, score):
    """Answers every page with `score(stimulus)`."""
    test, page = server.test, browser.post("rater", name=rater)
    for number, trial in enumerate(session(test, rater)):
        assert f"{number + 1} of {len(session(test, rater))}" in page
        if test.kind == "ab":
            fields = {"chosen": max((0, 1), key=lambda i: score(trial.stimuli[i]))}
        else:
            fields = {f"score{i}": score(stimulus) for i, stimulus in enumerate(trial.stimuli)}
        page = browser.post("answer", trial=number, **fields)
    assert "Thank you" in page


@pytest.mark.parametrize("kind", ["mos", "mushra", "ab"])
def test_a_whole_session_and_its_outcome(serve, rated, kind, capsys):
    server = serve(kind)
    assert server.server_address[0] == "127.0.0.1"
    assert "Your name" in Browser(server).page()
    grades = {
        "mos": {"anchor": 1, "first-system": 4, "second-system": 2, "natural": 5},
        "mushra": {"anchor": 10, "first-system": 80, "second-system": 40, "natural": 100},
        "ab": {"anchor": 0, "first-system": 2, "second-system": 1, "natural": 3},
    }[kind]
    rate_all(Browser(server), server, "Ann & Bo", lambda stimulus: grades[stimulus.system])
    found = read_results(rated)
    assert found.raters == ("Ann & Bo",)
    if kind == "ab":
        shares = {(p.first, p.second): p.value for p in found.pairs}
        first, second, natural = SYSTEMS
        assert shares == {(first, natural): 0.0, (first, second): 1.0, (natural, second): 1.0}
    else:
        assert {s.system: s.mean for s in found.systems} == grades
    show(found)
    out = capsys.readouterr().out
    assert "first-system" in out and "Attention checks" in out and "0 failed" in out and "One rater" in out


def test_pages_and_clips_are_blind(serve, rated):
    server = serve("mushra")
    browser = Browser(server)
    page = browser.post("rater", name="ann")
    trial = session(server.test, "ann")[0]
    anchors = {name for t in session(server.test, "ann") for name in t.stimuli if name.role == "anchor"}
    assert all(server.anchor(stimulus).exists() for stimulus in anchors)  # a clip that is late would give itself away
    said = page
    for place, stimulus in enumerate(trial.stimuli):
        status, headers, data = browser.get(f"media/0/{place}")
        assert status == 200 and headers["Content-Type"] in ("audio/x-wav", "audio/wav")
        said += json.dumps(headers)
        if stimulus.role != "anchor":
            assert data == (rated / stimulus.system / stimulus.item).read_bytes()
    assert browser.get("media/0/reference")[2] == (rated / "natural" / trial.stimuli[0].item).read_bytes()
    for name in (*SYSTEMS, *ITEMS, "item-one", "anchor"):
        assert name not in said.replace("How &lt;good&gt;?", "")
    assert "How &lt;good&gt;?" in page
    assert refused(browser.get, "media/1/0") == 404 and refused(browser.get, "media/0/9") == 404
    assert refused(browser.get, "first-system/item-one.wav") == refused(browser.get, "../ratings.sqlite") == 404
    assert refused(Browser(server).get, "media/0/0") == 404


def test_it_goes_on_after_closing(serve, rated):
    server = serve()
    browser = Browser(server)
    browser.post("rater", name="ann")
    browser.post("answer", trial=0, score0=4)
    assert "2 of" in browser.page()
    assert "2 of" in browser.post("answer", trial=0, score0=1)  # a reload
    assert refused(browser.post, "answer", trial=1, score0=9) == 400
    assert refused(browser.post, "answer", trial=1) == 400
    assert "2 of" in browser.page()
    assert "Your name" in browser.post("leave")
    again = serve()  # another process, another port
    other = Browser(again)
    assert "Your name" in other.page() and "2 of" in other.post("rater", name="  ann ")
    assert [answer.score for answer in RatingStore(rated / "ratings.sqlite").answers()] == [4.0]
    assert refused(other.post, "rater", name=" ") == 400 and refused(other.post, "rater", name="x" * 61) == 400


def test_players_can_seek(serve, rated):
    server = serve()
    browser = Browser(server)
    browser.post("rater", name="ann")
    whole = browser.get("media/0/0")[2]
    status, headers, part = browser.get("media/0/0", Range="bytes=10-19")
    assert (status, part, headers["Content-Range"]) == (206, whole[10:20], f"bytes 10-19/{len(whole)}")
    assert browser.get("media/0/0", Range=f"bytes={len(whole) - 4}-")[2] == whole[-4:]
    assert refused(browser.get, "media/0/0", Range=f"bytes={len(whole)}-") == 416


def test_other_sites_are_refused(serve):
    browser = Browser(serve())
    assert refused(browser.get, Host="evil.example") == 403
    assert refused(browser.post, "rater", {"Origin": "http://evil.example"}, name="ann") == 403
    assert refused(browser.post, "rater", {"Origin": "null"}, name="ann") == 403
    policy = browser.get()[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "sha256-" in policy
    assert not re.search(r"https?://", browser.page())


def test_a_taken_port_is_a_sentence(serve):
    taken = serve()
    with pytest.raises(OSError, match=f"port {taken.server_port} is taken by another program; choose another"):
        RatingServer(taken.server_port, taken.test, taken.media, taken.store)


def test_the_outcome_as_table_and_json(serve, rated, run):
    code, _, err = run("eval", "rate", rated, "--results")
    assert code == 2 and "holds no ratings yet" in err and not (rated / "ratings.sqlite").exists()
    server = serve()
    assert run("eval", "rate", rated, "--results")[2] == "nexus: nobody has rated yet\n"
    grades = {"anchor": 1, "first-system": 4, "second-system": 2, "natural": 5}
    rate_all(Browser(server), server, "ann", lambda stimulus: grades[stimulus.system])
    rate_all(Browser(server), server, "eve", lambda stimulus: 3)
    Browser(server).post("rater", name="late")
    code, out, err = run("eval", "rate", rated, "--results", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "") and told["raters"] == ["ann"] and told["unfinished"] == ["late"]
    assert "degraded clips" in told["failed"]["eve"] and told["test"]["kind"] == "mos" and told["attention_checks"]
    assert {row["system"]: row["mean"] for row in told["systems"]} == grades
    assert {(row["first"], row["second"], row["p"]) for row in told["pairs"]} >= {("first-system", "natural", 0.5)}
    code, out, _ = run("eval", "rate", rated, "--results")
    assert code == 0 and "natural" in out and "1 not finished, 1 failed the checks" in out and "eve: degraded" in out


def test_wrong_use_is_refused_before_serving(rated, run, serve):
    for arguments, words in (
        ((rated, "--json"), "--json is for --results"),
        ((rated, "--results", "--test", "ab"), "--test is for a new test"),
        ((rated, "--test", "mushra"), "mushra compares with a reference"),
        ((rated, "--reference", "gold"), "'gold' is not among first-system, natural, second-system"),
        ((rated / "no",), "there is no such folder"),
    ):
        code, out, err = run("eval", "rate", *arguments)
        assert (code, out) == (2, "") and words in err and err.count("\n") == 1
    assert not (rated / "ratings.sqlite").exists()
    port = serve().server_port
    code, _, err = run("eval", "rate", rated, "--port", port)
    assert code == 1 and f"port {port} is taken by another program" in err
    code, _, err = run("eval", "rate", rated, "--test", "ab", "--port", 0)
    assert code == 2 and "holds a test of other" in err
    (rated / "natural" / "item-one.wav").unlink()
    assert "natural lacks item-one.wav" in run("eval", "rate", rated)[2]


def test_ctrl_c_ends_it_in_peace(rated):
    command = [sys.executable, "-m", "nexus", "eval", "rate", str(rated), "--port", "0", "--seed", "3"]
    hears = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a shell's background job does not
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **hears) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "mos: 3 systems, 2 items\n"
        line = process.stdout.readline()
        assert "answers go to" in line
        with urllib.request.urlopen(line.split()[0]) as reply:
            assert "Your name" in reply.read().decode()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == "" and "the same command goes on" in out
    begun = RatingStore(rated / "ratings.sqlite").test()
    assert begun is not None and begun.seed == 3
