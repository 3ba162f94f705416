"""Compression in windows: against Descript's package, and back to what went in."""

import dataclasses
import sys
import types
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from nexus.codecs.dac import Dac, DacConfig
from nexus.codecs.dac_file import read_dac, write_dac
from nexus.codecs.dac_windows import compress, decompress, geometry, unpadded, unpadded_length, unpadded_needs
from nexus.hub import dac as layout
from nexus.hub.tensors import fold_weight_norm, rename
from nexus.media.audio import Audio

SMALL = {"encoder_dim": 4, "decoder_dim": 16, "latent_dim": 8, "n_codebooks": 3, "codebook_size": 16, "codebook_dim": 4}
RATIOS = {"even": (2, 4), "odd": (2, 5)}
RATE = 8000


def redraw(model: nn.Module) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("alpha"):
                parameter.copy_(0.3 + torch.randn_like(parameter).abs())
            elif name.endswith("bias"):
                parameter.copy_(0.1 * torch.randn_like(parameter))
            elif "codebook" not in name:
                parameter.mul_(1.2)


def codec(ratios: tuple[int, ...]) -> Dac:
    torch.manual_seed(0)
    model = Dac(DacConfig(sample_rate=RATE, ratios=ratios, **SMALL)).eval()
    redraw(model)
    return model


def sound(length: int, channels: int = 2, rate: int = RATE) -> Audio:
    rng = np.random.default_rng(0)
    return Audio(0.1 * rng.standard_normal((channels, length)).cumsum(axis=1).clip(-8, 8) / 2, rate)


class Signal:
    """What of audiotools' AudioSignal the original compresses with; loudness is measured by our own meter."""

    def __init__(self, audio_data: torch.Tensor, sample_rate: int):
        self.audio_data, self.sample_rate, self.device = audio_data, sample_rate, torch.device("cpu")
        self.measured: torch.Tensor | None = None

    shape = property(lambda self: self.audio_data.shape)
    signal_length = property(lambda self: self.audio_data.shape[-1])
    signal_duration = property(lambda self: self.signal_length / self.sample_rate)

    def clone(self) -> "Signal":
        return Signal(self.audio_data.clone(), self.sample_rate)

    def resample(self, rate: int) -> None:
        assert rate == self.sample_rate

    def loudness(self) -> torch.Tensor:
        if self.measured is None:
            self.measured = torch.tensor([Audio(item, self.sample_rate).loudness() for item in self.audio_data])
        return self.measured

    def normalize(self, db) -> None:
        self.audio_data = self.audio_data * 10 ** ((torch.as_tensor(db) - self.loudness()) / 20)[:, None, None]

    def ensure_max_of_audio(self) -> None:
        self.audio_data = self.audio_data / self.audio_data.abs().amax(-1, keepdim=True).clamp(min=1)

    def zero_pad(self, before: int, after: int) -> "Signal":
        self.audio_data = nn.functional.pad(self.audio_data, (before, after))
        return self

    def __getitem__(self, key) -> "Signal":
        return Signal(self.audio_data[key], self.sample_rate)


@pytest.fixture
def package(monkeypatch):
    """Descript's package, with the little that it needs of audiotools."""
    stubs = {name: types.ModuleType(name) for name in ("audiotools", "audiotools.ml", "argbind", "tqdm")}
    base = type("BaseModel", (nn.Module,), {"INTERN": [], "EXTERN": [], "device": torch.device("cpu")})
    stubs["audiotools.ml"].BaseModel, stubs["audiotools.ml"].Accelerator = base, object
    stubs["audiotools"].ml, stubs["audiotools"].AudioSignal = stubs["audiotools.ml"], Signal
    stubs["audiotools"].STFTParams = object
    stubs["argbind"].bind = lambda *args, **options: lambda function: function
    stubs["tqdm"].tqdm = stubs["tqdm"].trange = range
    for name, module in stubs.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in [name for name in sys.modules if name.split(".")[0] == "dac"]:
        monkeypatch.delitem(sys.modules, name)
    yield pytest.importorskip("dac", exc_type=ImportError)
    for name in [name for name in sys.modules if name.split(".")[0] == "dac"]:
        del sys.modules[name]


@pytest.mark.parametrize("ratios", RATIOS)
@pytest.mark.parametrize(("seconds", "n_codebooks", "channels"), [(0.25, None, 1), (0.1, 2, 2), (5.0, None, 1)])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning", "ignore::DeprecationWarning")
@torch.no_grad()
def test_files_are_the_originals(package, ratios, seconds, n_codebooks, channels, tmp_path):
    ratios = RATIOS[ratios]
    arguments = SMALL | {"encoder_rates": list(ratios), "decoder_rates": list(ratios)[::-1], "sample_rate": RATE}
    torch.manual_seed(0)
    expected = package.DAC(**arguments).eval()
    redraw(expected)
    config = layout.config_from_metadata({"metadata": {"kwargs": arguments | {"quantizer_dropout": 0}}}, "x")
    state = rename(fold_weight_norm(expected.state_dict()), layout.ORIGINAL_RULES)
    model = layout.build(config, state, "x").eval()
    audio = sound(5003, channels)
    theirs = expected.compress(Signal(audio.tensor()[None], RATE), win_duration=seconds, n_quantizers=n_codebooks)
    ours = compress(model, audio, seconds=seconds, n_codebooks=n_codebooks)
    assert theirs.padding == ours.padding == (seconds == 5.0)
    assert len(theirs.codes.unique()) > 4
    assert np.array_equal(ours.codes, theirs.codes.numpy())
    # Each reads the other's file, and hears the same.
    path = theirs.save(tmp_path / "theirs.dac")
    read = read_dac(path.read_bytes())
    facts = ("chunk_length", "original_length", "sample_rate", "channels", "padding")
    assert [getattr(read, name) for name in facts] == [getattr(ours, name) for name in facts]
    assert read.loudness == pytest.approx(ours.loudness, abs=1e-4)
    (tmp_path / "ours.dac").write_bytes(write_dac(ours))
    heard = expected.decompress(tmp_path / "ours.dac").audio_data[0].numpy()
    assert heard.shape == audio.samples.shape and heard.std() > 1e-3
    back = decompress(model, read).samples
    # The original brings each channel to the loudness of both together.
    scale = heard.std(axis=1, keepdims=True) / back.std(axis=1, keepdims=True)
    assert channels == 2 or scale.item() == pytest.approx(1, abs=1e-4)
    assert np.abs(scale * back - heard).max() < 2e-5 * np.abs(heard).max()


@pytest.mark.parametrize("ratios", RATIOS.values())
def test_lengths_of_unpadded_layers(ratios):
    model = codec(ratios)
    n = 2000 // model.hop_length * model.hop_length
    with torch.no_grad():
        latent = unpadded(model.encoder, torch.randn(1, 1, n))
        waveform = unpadded(model.decoder, latent)
    assert latent.shape[-1] == unpadded_length(model.encoder, n)
    assert waveform.shape[-1] == unpadded_length(model.decoder, latent.shape[-1])
    assert geometry(model, n / RATE).hop == waveform.shape[-1]


@torch.no_grad()
def test_unpadded_is_the_middle_of_padded():
    model, x = codec((2, 4)), torch.randn(1, 1, 1600)
    inner = unpadded(model.encoder, x)
    # Unpadded, the first frame begins with the first sample; padded, so many before it.
    before = unpadded_needs(model.encoder, 1) - model.encoder_look_ahead - model.hop_length
    shift, lost = before % model.hop_length, before // model.hop_length
    whole = model.encoder(x[..., shift:])[..., lost : lost + inner.shape[-1]]
    torch.testing.assert_close(inner, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("rate", "channels", "length"), [(RATE, 1, 1), (RATE, 3, 2100), (11025, 2, 3001)])
@pytest.mark.parametrize("seconds", [0.1, 5.0])
def test_rate_channels_length_and_loudness_come_back(rate, channels, length, seconds):
    model, audio = codec((2, 4)), sound(length, channels, rate)
    back = decompress(model, read_dac(write_dac(compress(model, audio, seconds=seconds))))
    assert (back.rate, back.channels, back.length) == (rate, channels, length)
    if length > 1:
        assert back.loudness() == pytest.approx(audio.loudness(), abs=1)


def test_silence_and_wrong_input():
    model = codec((2, 4))
    silent = decompress(model, compress(model, Audio.silence(900, RATE)))
    assert silent.length == 900 and silent.peak < 1e-2
    with pytest.raises(ValueError, match="empty"):
        compress(model, Audio.silence(0, RATE))
    with pytest.raises(ValueError, match=r"at least 0\.\d+ seconds for this codec, got 0\.01"):
        compress(model, sound(4000), seconds=0.01)
    file = compress(model, sound(900))
    wrong = partial(dataclasses.replace, file)
    with pytest.raises(ValueError, match=r"states 100 s of sound, its codes are 0\.113 s"):
        decompress(model, wrong(original_length=100 * RATE))
    with pytest.raises(ValueError, match="codes must be 0 to 15, the file has up to 99"):
        decompress(model, wrong(codes=np.full_like(file.codes, 99)))
    with pytest.raises(ValueError, match="has 3 codebooks, the file codes of 6"):
        decompress(model, wrong(codes=np.concatenate([file.codes, file.codes], axis=1)))
    with pytest.raises(ValueError, match="chunks of 2 frames without padding"):
        decompress(model, wrong(chunk_length=2, padding=False))
