import io
import logging
import re

from rich.console import Console

from nexus.training.report import Report, data_in_the_making


def test_plain_lines_in_a_log(tmp_path):
    text = io.StringIO()
    with Report(tmp_path, "toy", 0, 3000, console=Console(file=text, soft_wrap=True)) as report:
        report.advance(120)
        report.figures(120, {"loss": 0.1234567, "lr": 1e-3})
        report.validation(120, {"valid/loss": 0.5})
    lines = text.getvalue().splitlines()
    assert re.fullmatch(r"step 120/3000 loss 0.1235 lr 0.001 \d+\.\d\d s/step eta \d\d:\d\d:\d\d", lines[0])
    assert lines[1] == "step 120 valid/loss 0.5"
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_live_line_in_a_terminal(tmp_path):
    text = io.StringIO()
    with Report(tmp_path, "toy", 0, 30, console=Console(file=text, force_terminal=True, width=120)) as report:
        report.advance(12)
        report.figures(12, {"loss": 0.125})
    assert "training toy" in text.getvalue() and "12/30" in text.getvalue() and "loss 0.125" in text.getvalue()


def test_stderr_hears_of_data_in_the_making_only_while_they_are_made(capsys, monkeypatch):
    data, maker = logging.getLogger("nexus.data"), logging.getLogger("nexus.data.maker")
    monkeypatch.setattr(data, "propagate", False)  # away from the handlers of the test runner
    with data_in_the_making():
        maker.info("one of three")
    with data_in_the_making(quiet=True):
        maker.info("quiet")
    maker.info("afterwards")
    assert capsys.readouterr().err == "one of three\n" and not data.handlers and data.level == logging.NOTSET


def test_a_caller_who_listens_to_the_data_hears_once(capsys, caplog):
    caplog.set_level(logging.INFO, "nexus.data")
    with data_in_the_making():
        logging.getLogger("nexus.data.maker").info("one of three")
    assert caplog.messages == ["one of three"] and not capsys.readouterr().err
