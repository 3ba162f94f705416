"""Codes in pieces are the codes of the whole, for every codec with a stream, whatever the channels and the length."""

import contextlib
import dataclasses
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nexus.codecs import long_sounds
from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.encodec_windows import WindowedEncodec, WindowedEncodecConfig
from nexus.codecs.facodec import FACodec, FACodecConfig
from nexus.codecs.long_sounds import (
    CodedSound,
    as_channels,
    check_codes,
    codebooks_at,
    decode_long,
    encode_long,
    with_last,
)
from nexus.codecs.seanet import SEANetConfig
from nexus.media.audio_blocks import SoundBlocks
from nexus.nn.quantize import QuantizerConfig

RATE = 8000
SEANET = SEANetConfig(n_filters=4, ratios=(4, 2), n_lstm_layers=1)
MONO = EncodecConfig(sample_rate=RATE, seanet=SEANET, quantizer=QuantizerConfig(n_codebooks=3, codebook_size=16, dim=8))
STEREO = dataclasses.replace(
    MONO, channels=2, seanet=dataclasses.replace(SEANET, causal=False, weight_norm=False, group_norm=True)
)


def codec(name):
    torch.manual_seed(0)
    if name == "windows":
        model = WindowedEncodec(WindowedEncodecConfig(codec=STEREO, window_length=800, stride=792)).eval()
        inner, channels = model.codec, 2
    else:
        model = inner = Encodec(MONO).eval()
        channels = 1
    with torch.no_grad():
        latent = inner.encoder(torch.randn(1, channels, 999) * (1 if name == "windows" else 0.3))
        for codebook in inner.quantizer.codebooks:
            codebook.vectors.mul_(latent.std())
    return model


def sound(length, channels=1, rate=RATE, pieces=3):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (channels, length)).astype(np.float32)
    blocks = iter(np.array_split(samples, pieces, axis=1)) if length else iter(())
    return samples, SoundBlocks(rate=rate, channels=channels, blocks=blocks)


def heard(blocks):
    return torch.from_numpy(np.concatenate(list(blocks.blocks), axis=1))


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(long_sounds, "PIECE", 0.1)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("length", [1, 799, 801, 4003])
def test_pieces_are_the_whole(length, channels):
    model = codec("mono")
    samples, blocks = sound(length, channels)
    coded = encode_long(model, blocks)
    whole = model.encode(torch.from_numpy(samples)[:, None])
    assert np.array_equal(coded.codes, whole.numpy()) and (coded.length, coded.channels) == (length, channels)
    assert length < 100 or len(np.unique(coded.codes)) > 8
    expected = model.decode(whole, length=length)[:, 0]
    assert length == 1 or expected.std() > 1e-3
    torch.testing.assert_close(heard(decode_long(model, coded)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1, 799, 801, 4003])
def test_windows_with_their_scales(length):
    model = codec("windows")
    samples, blocks = sound(length, 2)
    coded = encode_long(model, blocks)
    whole = model.encode(torch.from_numpy(samples)[None])
    assert np.array_equal(coded.codes, whole.codes.numpy())
    assert np.array_equal(coded.side["scales"], whole.scales.numpy()) and coded.length == length
    torch.testing.assert_close(heard(decode_long(model, coded)), model.decode(whole)[0], atol=1e-5, rtol=0)


class Whole:
    """A codec without a stream: a code is the sign of a sample's pair."""

    sample_rate, hop_length, frame_rate, codebook_size, n_codebooks, channels = RATE, 2, RATE / 2, 2, 1, 1
    bitrate = 4000.0
    config = SimpleNamespace()

    def state_dict(self):
        return {"x": torch.zeros(1)}

    def encode(self, waveform):
        padded = torch.nn.functional.pad(waveform, (0, -waveform.shape[-1] % 2))
        return (padded.unfold(-1, 2, 2).sum(-1) > 0).long()

    def decode(self, codes):
        return codes.repeat_interleave(2, -1).float() - 0.5


def test_a_codec_without_a_stream(monkeypatch):
    coded = encode_long(Whole(), sound(1001)[1])
    assert coded.codes.shape == (1, 1, 501)
    assert heard(decode_long(Whole(), coded)).shape == (1, 1001)
    monkeypatch.setattr(long_sounds, "LONGEST_WHOLE", 0.1)
    with pytest.raises(ValueError, match=r"does not stream, and takes up to 0\.1 s at once"):
        encode_long(Whole(), sound(1001)[1])


def test_fewer_codebooks():
    model = codec("mono")
    samples, blocks = sound(1000)
    coded = encode_long(model, blocks, n_codebooks=2)
    assert np.array_equal(coded.codes, model.encode(torch.from_numpy(samples)[:, None], n_codebooks=2).numpy())
    assert heard(decode_long(model, coded)).shape == (1, 1000)


def test_silence_and_sound_beyond_full_scale():
    model = codec("mono")
    for level in (0, 4):
        blocks = SoundBlocks(rate=RATE, channels=1, blocks=iter([np.full((1, 900), level, np.float32)]))
        assert heard(decode_long(model, encode_long(model, blocks))).isfinite().all()


def test_wrong_sounds():
    with pytest.raises(ValueError, match="the sound is empty"):
        encode_long(codec("mono"), sound(0)[1])
    with pytest.raises(ValueError, match="the sound is empty"):
        encode_long(Whole(), sound(0)[1])
    with pytest.raises(ValueError, match="takes 8000 Hz, got 44100"):
        encode_long(codec("mono"), sound(10, rate=44100)[1])


def test_channels():
    mono, stereo = codec("mono"), codec("windows")
    assert as_channels(sound(9, 1)[1], mono)[1] == as_channels(sound(9, 2)[1], stereo)[1] == ""
    assert as_channels(sound(9, 6)[1], mono)[1] == "6 channels coded one by one"
    (folded, said), (doubled, too) = (as_channels(sound(90, n)[1], stereo) for n in (6, 1))
    assert (said, too) == ("5.1 channels folded to stereo", "its one channel coded as two")
    assert heard(folded).shape == heard(doubled).shape == (2, 90)
    with pytest.raises(ValueError, match="takes 2 channels, got 5"):
        as_channels(sound(9, 5)[1], stereo)


def test_bit_rates():
    model = codec("mono")
    assert model.bitrate == 3 * 4 * 1000 and model.bitrate_of(1) == 4000
    assert codebooks_at(model, 8) == 2 and codebooks_at(model, 12) == 3
    with pytest.raises(ValueError, match="bandwidth must be 4 to 12 kbps"):
        codebooks_at(model, 1)
    with pytest.raises(ValueError, match=r"one bit rate, 4 kb/s"):
        codebooks_at(Whole(), 2)
    windows = codec("windows")
    assert windows.bitrate == pytest.approx(12000 * 800 / 792 + 32 * 8000 / 792)


def codes(*shape, most=15):
    return np.random.default_rng(0).integers(0, most + 1, size=shape, dtype=np.int32)


@pytest.mark.parametrize(
    ("coded", "sentence"),
    [
        (CodedSound(codes=codes(1, 4, 10), length=80, channels=1), "has 3 codebooks, got codes of 4"),
        (CodedSound(codes=codes(1, 3, 10) + 5, length=80, channels=1), "codes must be 0 to 15, got 5 to 20"),
        (CodedSound(codes=codes(1, 3, 10) - 5, length=80, channels=1), "codes must be 0 to 15, got -5"),
        (CodedSound(codes=codes(1, 3, 10), length=81, channels=1), "81 samples have 11 frames, got codes of 10"),
        (CodedSound(codes=codes(1, 3, 9999), length=81, channels=1), "got codes of 9999"),
        (CodedSound(codes=codes(2, 3, 10), length=80, channels=1), "2 rows of 1 channels each do not make 1"),
    ],
)
def test_codes_that_the_codec_did_not_make(coded, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_codes(codec("mono"), coded)


def test_windows_without_their_scales():
    coded = CodedSound(codes=codes(1, 3, 101), length=800, channels=2)
    for side in ({}, {"scales": np.ones((1, 5), np.float32)}):
        with pytest.raises(ValueError, match=r"this codec needs \{'scales': "):
            check_codes(codec("windows"), dataclasses.replace(coded, side=side))
    for scale in (-1.0, 1e38):
        side = {"scales": np.full((1, 2), scale, np.float32)}
        with pytest.raises(ValueError, match="scales must be 0 to 1e"):
            check_codes(codec("windows"), dataclasses.replace(coded, side=side))
    with pytest.raises(ValueError, match=r"needs nothing, got \{'scales'"):
        check_codes(codec("mono"), CodedSound(codes=codes(1, 3, 10), length=80, channels=1, side=side))


def test_memory_does_not_grow_with_the_length(monkeypatch):
    """Blocks are made as they are asked for; what is kept is codes."""
    monkeypatch.setattr(long_sounds, "PIECE", 10)

    def peak(n):
        blocks = (np.zeros((1, 80_000), np.float32) for _ in range(n))
        tracemalloc.start()
        encode_long(Cheap(), SoundBlocks(rate=RATE, channels=1, blocks=blocks))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    class Cheap(Whole):
        def streaming(self):
            from contextlib import nullcontext

            return nullcontext(self)

        def encode(self, waveform, n_codebooks=None, last=False):
            return torch.zeros(1, 1, waveform.shape[-1] // 320, dtype=torch.long)

    assert peak(40) < peak(4) + 200_000 < 40 * 80_000 * 4 / 4


def test_the_last_is_known():
    assert list(with_last("abc")) == [("a", False), ("b", False), ("c", True)]
    assert list(with_last("")) == []


@pytest.mark.parametrize("prosody_bins", [None, 20])
def test_a_codec_that_needs_the_voice(prosody_bins):
    torch.manual_seed(0)
    config = FACodecConfig(
        encoder_dim=4, decoder_dim=16, dim=16, ratios=(2, 4), codebook_size=32, codebook_dim=4, n_layers=1, n_heads=2,
        hidden_dim=16, prosody_bins=prosody_bins, sample_rate=RATE,
    )  # fmt: skip
    model = FACodec(config).eval()
    samples, blocks = sound(2003, channels=2)
    coded = encode_long(model, blocks)
    waveform = torch.from_numpy(samples)[:, None]
    codes, voice = model.encode(waveform), model.timbre(waveform)
    assert np.array_equal(coded.codes, codes.numpy()) and len(codes.unique()) > 8
    np.testing.assert_allclose(coded.side["timbre"], voice.numpy(), atol=1e-6)
    expected = model.decode(codes, voice, length=2003)[:, 0]
    assert expected.std() > 1e-4
    torch.testing.assert_close(heard(decode_long(model, coded)), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"needs \{'timbre'"):
        check_codes(model, dataclasses.replace(coded, side={}))
    with pytest.raises(ValueError, match="the sound is empty"):
        encode_long(model, sound(0)[1])


def test_samples_that_are_no_numbers_are_refused():
    model, loud = codec("mono"), torch.full((1, 1, 80), torch.inf)
    model.streaming = lambda: contextlib.nullcontext(SimpleNamespace(decode=lambda *_, **__: loud))
    coded = CodedSound(codes=codes(1, 3, 10), length=80, channels=1)
    with pytest.raises(ValueError, match="no finite numbers"):
        list(decode_long(model, coded).blocks)
