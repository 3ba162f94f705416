"""The loop learns, accumulates, resumes to the bit after SIGKILL, and stops with a sentence."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toy import Line, Points, Toy

from nexus.training import checkpoint
from nexus.training.loop import Run, TrainingError, train
from nexus.training.recipe import LoopConfig, Objective, OptimizerConfig, override

TOY = Path(__file__).parent / "toy.py"


def weights(folder):
    return load_file(folder / "model.safetensors")


def equal(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


def final_loss(recipe, folder):
    seen = []
    train(recipe, folder, on_log=lambda step, figures: seen.append((step, figures["loss"])))
    return seen


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_learns(tmp_path, precision):
    recipe = override(Toy(size=64), ["loop.steps=150", f"loop.precision={precision}"])
    seen = final_loss(recipe, tmp_path)
    assert seen[0][1] > 1 and seen[-1][1] < 0.1
    assert [step for step, _ in seen] == list(range(10, 160, 10))
    state = weights(tmp_path / "weights")
    assert all(value.dtype == torch.float32 for value in state.values())  # autocast leaves the weights alone


@pytest.mark.parametrize(("able", "named"), [(True, "bf16"), (False, "fp32")])
def test_automatic_precision_is_what_the_cpu_multiplies(tmp_path, monkeypatch, capsys, able, named):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    seen = []

    class Looking(Toy):
        def objectives(self, networks):
            (turn,) = super().objectives(networks)

            def loss(*args):
                seen.append(torch.is_autocast_enabled("cpu"))
                return turn.loss(*args)

            return (dataclasses.replace(turn, loss=loss),)

    train(override(Looking(), ["loop.steps=2", "loop.precision=auto", "loop.device=cpu"]), tmp_path)
    assert seen == [able] * 2 and f"computing in {named}" in "".join(capsys.readouterr())


def test_data_that_can_not_be_had_leave_no_folder(tmp_path):
    class Empty(Toy):
        def dataset(self, split):
            raise ValueError("no recordings")

    with pytest.raises(ValueError, match="no recordings"):
        train(Empty(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    command = [sys.executable, "-m", "nexus", "train", str(TOY), "loop.steps=250", "loop.save_every=20", "-o"]
    victim = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(checkpoint.found(tmp_path / "killed" / "checkpoints")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    _, errors = victim.communicate()
    reached = checkpoint.load_latest(tmp_path / "killed" / "checkpoints")
    assert victim.returncode == -signal.SIGKILL, errors.decode()
    assert reached is not None and 0 < reached["step"] < 250

    recipe = override(Toy(dropout=0.2, noise=0.1), ["loop.steps=250", "loop.save_every=20"])
    train(recipe, tmp_path / "killed")
    train(recipe, tmp_path / "whole")
    assert equal(weights(tmp_path / "killed" / "weights"), weights(tmp_path / "whole" / "weights"))
    states = [checkpoint.load_latest(tmp_path / name / "checkpoints") for name in ("killed", "whole")]
    assert equal(states[0]["turns"]["networks"]["model"], states[1]["turns"]["networks"]["model"])
    moments = [state["turns"]["optimizers"]["fit"]["state"][0]["exp_avg_sq"] for state in states]
    assert torch.equal(*moments)


def test_evaluation_and_samples_do_not_change_the_run(tmp_path):
    plain = Toy(dropout=0.2, noise=0.1)
    busy = override(plain, ["loop.validate_every=3", "loop.sample_every=4", "loop.save_every=7"])
    train(plain, tmp_path / "plain")
    train(busy, tmp_path / "busy")
    assert equal(weights(tmp_path / "plain" / "weights"), weights(tmp_path / "busy" / "weights"))


def test_runs_of_other_seeds_are_validated_on_the_same(tmp_path):
    seen = []

    class Looking(Toy):
        def dataset(self, split):
            return Points(self.loop.seed, self.size)

        def loss(self, networks, batch, rng):
            if not networks["model"].training:
                seen.append(torch.cat([batch["x"].flatten(), torch.randn(3, generator=rng)]))
            return super().loss(networks, batch, rng)

    for seed in (3, 4):
        train(override(Looking(), ["loop.steps=2", "loop.validate_every=1", f"loop.seed={seed}"]), tmp_path / f"{seed}")
    four_times = torch.stack(seen).unflatten(0, (4, LoopConfig().validation_batches))
    assert torch.equal(four_times, four_times[:1].expand_as(four_times))
    assert not torch.equal(seen[0], seen[1])


def test_workers_read_the_same_batches(tmp_path):
    recipe = Toy(dropout=0.2)
    train(recipe, tmp_path / "thread")
    train(override(recipe, ["loop.workers=2"]), tmp_path / "processes")
    assert equal(weights(tmp_path / "thread" / "weights"), weights(tmp_path / "processes" / "weights"))


class Halves:
    """Batch i of `Points`, cut in two."""

    def __init__(self, whole):
        self.whole = whole

    def __getitem__(self, index):
        return {name: value.chunk(2)[index % 2] for name, value in self.whole[index // 2].items()}


class Halved(Toy):
    def dataset(self, split):
        return Halves(super().dataset(split))


def test_accumulation_equals_a_big_batch(tmp_path):
    loop = LoopConfig(steps=20, ema_decay=0.0, sample_every=0, validate_every=0, precision="fp32")
    big = train(Toy(loop=loop), tmp_path / "big")
    small = train(Halved(loop=dataclasses.replace(loop, accumulate=2)), tmp_path / "small")
    big, small = weights(big), weights(small)
    assert big.pop("seen") == 20 and small.pop("seen") == 40
    for name in big:
        torch.testing.assert_close(small[name], big[name], atol=1e-5, rtol=1e-4)


def test_only_the_named_networks_move(tmp_path):
    class Two(Toy):
        def networks(self):
            frozen = Line().requires_grad_(False)
            return {"model": nn.Sequential(Line(), frozen), "judge": Line()}

        def objectives(self, networks):
            def judge(nets, batch, rng):
                moved = nets["model"][0](batch["x"]).expand(-1, 4)
                return {"loss": (nets["judge"](moved) - nets["judge"](batch["x"])).mean().tanh(), "moved": moved.mean()}

            def fool(nets, batch, rng):
                assert not any(p.requires_grad for p in nets["judge"].parameters())
                return {"loss": -nets["judge"](nets["model"][0](batch["x"]).expand(-1, 4)).mean().tanh()}

            return (
                Objective("judge", ("judge",), judge, OptimizerConfig(warmup_steps=0)),
                Objective("fool", ("model",), fool, OptimizerConfig(warmup_steps=0)),
            )

    recipe = override(Two(), ["loop.steps=2", "loop.log_every=1"])
    run, seen = Run(recipe, tmp_path), []
    run.begin(resume=False)
    before = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in run.networks.items()}
    batch = Points(1)[0]
    only_judge = run.turns.objectives[:1]
    run.turns.objectives, both = only_judge, run.turns.objectives
    run.train_step([batch])
    assert equal(before["model"], run.networks["model"].state_dict())
    assert not equal(before["judge"], run.networks["judge"].state_dict())
    run.turns.objectives = both
    run.train_step([batch])
    after = run.networks["model"].state_dict()
    assert not torch.equal(before["model"]["0.layers.0.weight"], after["0.layers.0.weight"])
    assert torch.equal(before["model"]["1.layers.0.weight"], after["1.layers.0.weight"])
    assert not any("1.layers" in name for name in run.state_dict()["turns"]["networks"]["model"] if name[2:] != "seen")

    train(recipe, tmp_path / "whole", on_log=lambda step, figures: seen.append(figures))
    assert {"judge/loss", "judge/moved", "judge/lr", "fool/loss", "fool/grad_norm"} <= seen[0].keys()


def test_a_loss_that_is_not_a_number_names_its_objective(tmp_path):
    class Breaks(Toy):
        def loss(self, networks, batch, rng):
            losses = super().loss(networks, batch, rng)
            if networks["model"].seen > 25:
                losses["loss"] = losses["loss"] * float("nan")
            return losses

    with pytest.raises(TrainingError, match=r"objective 'fit' is nan at step 25.*step-00000020"):
        train(Breaks(), tmp_path)
    assert checkpoint.load_latest(tmp_path / "checkpoints")["step"] == 20
    assert (tmp_path / "weights" / "model.safetensors").is_file()


def test_interrupt_saves_after_the_step_in_hand_and_goes_on_exactly(tmp_path):
    class Interrupted(Toy):
        def loss(self, networks, batch, rng):
            losses = super().loss(networks, batch, rng)
            if networks["model"].seen == 13:
                signal.raise_signal(signal.SIGINT)
            return losses

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="after step 13"):
        train(Interrupted(dropout=0.1), tmp_path / "stopped")
    assert signal.getsignal(signal.SIGINT) is handler
    train(Toy(dropout=0.1), tmp_path / "stopped")
    train(Toy(dropout=0.1), tmp_path / "whole")
    assert equal(weights(tmp_path / "stopped" / "weights"), weights(tmp_path / "whole" / "weights"))


def test_fresh_starts_again_and_other_networks_are_refused(tmp_path):
    train(Toy(), tmp_path)
    steps = []
    train(Toy(), tmp_path, resume=False, on_log=lambda step, _: steps.append(step))
    assert steps == [10, 20, 30, 40]

    class Wide(Toy):
        def networks(self):
            return {"model": nn.Sequential(nn.Linear(4, 5), Line())}

    with pytest.raises(ValueError, match=r"other networks than recipe 'toy'.*--fresh"):
        train(Wide(), tmp_path)


def test_gradient_checkpointing_is_asked_of_the_networks(tmp_path):
    with pytest.raises(ValueError, match=r"loop.gradient_checkpointing: no network of toy can"):
        Run(override(Toy(), ["loop.gradient_checkpointing=true"]), tmp_path)

    class Able(Toy):
        def networks(self):
            model = Line()
            model.asked = False
            model.gradient_checkpointing_enable = lambda: setattr(model, "asked", True)
            return {"model": model}

    assert Run(override(Able(), ["loop.gradient_checkpointing=true"]), tmp_path).networks["model"].asked


@pytest.mark.slow
def test_two_processes_equal_accumulating_two_batches(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"import sys\nsys.path.insert(0, {str(TOY.parent)!r})\nfrom toy import Toy\nrecipe = Toy()\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "nexus", "train"]
    subprocess.run([*command, str(file), "-o", str(tmp_path / "two")], check=True, capture_output=True)
    train(override(Toy(), ["loop.accumulate=2"]), tmp_path / "one")
    one, two = weights(tmp_path / "one" / "weights"), weights(tmp_path / "two" / "weights")
    for name in one.keys() - {"seen"}:
        torch.testing.assert_close(two[name], one[name])
