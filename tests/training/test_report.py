import io
import re

from rich.console import Console

from nexus.training.report import Report


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
