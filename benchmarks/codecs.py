"""EnCodec and Vocos against their references: the same weights, in turn, in one process.

    python benchmarks/codecs.py

Prints a markdown table of median times; official widths, random weights, one thread unless OMP_NUM_THREADS says more.
"""

import argparse
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable

import torch
from torch import nn

import nexus
from nexus.codecs.vocos import VocosConfig
from nexus.hub import vocos as vocos_layout


def race(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of both, called in turn after one warm-up each."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for call, kept in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                kept.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def row(name: str, ours: float, theirs: float) -> None:
    print(f"| {name} | {ours * 1000:.0f} | {theirs * 1000:.0f} | {theirs / ours:.2f} |", flush=True)


def encodec(seconds: float, rounds: int) -> None:
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    reference = EncodecModel(EncodecConfig()).eval()
    with torch.no_grad():
        scale = reference.encoder(torch.randn(1, 1, 16000)).std()
        for layer in reference.quantizer.layers:
            layer.codebook.embed.copy_(torch.randn_like(layer.codebook.embed) * scale / 4)
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        ours = nexus.load(folder, device="cpu")
    waveform = torch.randn(1, 1, round(seconds * 24000))
    with torch.inference_mode():
        codes = reference.encode(waveform, bandwidth=6.0).audio_codes
        assert (ours.encode(waveform, bandwidth=6.0) == codes[0]).float().mean() > 0.999
        row(
            f"EnCodec 24 kHz, encode {seconds:g} s at 6 kbps",
            *race(
                lambda: ours.encode(waveform, bandwidth=6.0),
                lambda: reference.encode(waveform, bandwidth=6.0),
                rounds,
            ),
        )
        row(
            f"EnCodec 24 kHz, decode {seconds:g} s",
            *race(lambda: ours.decode(codes[0]), lambda: reference.decode(codes, [None]), rounds),
        )


def stub_torchaudio() -> None:
    """The reference imports torchaudio and encodec, which it needs for features only."""
    for name in ("torchaudio", "torchaudio.transforms", "torchaudio.functional", "torchaudio.functional.functional"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]  # type: ignore[attr-defined]
    sys.modules["torchaudio.transforms"].MelSpectrogram = nn.Identity  # type: ignore[attr-defined]
    functional = sys.modules["torchaudio.functional.functional"]
    functional._hz_to_mel = functional._mel_to_hz = None  # type: ignore[attr-defined]
    sys.modules["encodec"] = types.ModuleType("encodec")
    sys.modules["encodec"].EncodecModel = object  # type: ignore[attr-defined]


def vocos(seconds: float, rounds: int) -> None:
    stub_torchaudio()
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone
    from vocos.pretrained import Vocos

    torch.manual_seed(0)
    backbone, head = VocosBackbone(100, 512, 1536, 8), ISTFTHead(512, 1024, 256, padding="center")
    reference = Vocos(nn.Identity(), backbone, head).eval()
    ours = vocos_layout.build(VocosConfig.mel_24khz(), reference.state_dict(), "reference").eval()
    mel = torch.randn(1, 100, round(seconds * 24000 / 256))
    assert torch.allclose(ours.decode(mel)[:, 0], reference.decode(mel), atol=1e-4)
    row(f"Vocos mel 24 kHz, {seconds:g} s", *race(lambda: ours.decode(mel), lambda: reference.decode(mel), rounds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print("| what | ours, ms | reference, ms | reference / ours |\n|---|--:|--:|--:|")
    encodec(arguments.seconds, arguments.rounds)
    vocos(arguments.seconds, arguments.rounds)
