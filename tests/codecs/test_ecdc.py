"""`.ecdc` files: equal to the original's byte for byte, read back, and refused in words when they are not sound."""

import json
import struct
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nexus
from nexus.codecs.ecdc import compress, decompress, name_of, read, read_metadata, window_frames, write
from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.encodec_lm import EncodecLM, EncodecLMConfig
from nexus.codecs.encodec_windows import WindowedEncodec, WindowedEncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.nn.quantize import QuantizerConfig

SEANET = SEANetConfig(n_filters=2, ratios=(4, 2), n_lstm_layers=1)
PLAIN = EncodecConfig(sample_rate=800, seanet=SEANET, quantizer=QuantizerConfig(n_codebooks=3, codebook_size=16, dim=4))
WINDOWED = WindowedEncodecConfig(
    codec=EncodecConfig(
        sample_rate=800,
        channels=2,
        seanet=SEANetConfig(n_filters=4, ratios=(4, 2), causal=False, weight_norm=False, group_norm=True),
        quantizer=PLAIN.quantizer,
    ),
    window_length=96,
    stride=88,
)


def plain() -> Encodec:
    torch.manual_seed(0)
    return Encodec(PLAIN).eval()


def windowed() -> WindowedEncodec:
    torch.manual_seed(0)
    return WindowedEncodec(WINDOWED).eval()


def language_model() -> EncodecLM:
    torch.manual_seed(0)
    config = EncodecLMConfig(n_codebooks=3, codebook_size=16, dim=8, n_layers=1, n_heads=2, context=20)
    model = EncodecLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


CODECS = {"plain": (plain, 1), "windowed": (windowed, 2)}


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("length", [1, 88, 93, 301])
@pytest.mark.parametrize("with_lm", [False, True])
def test_back_and_forth(name, length, with_lm):
    (make, channels), lm = CODECS[name], language_model() if with_lm else None
    codec, x = make(), torch.randn(channels, length)
    data = compress(codec, x, lm=lm)
    encoded = codec.encode(x[None])
    codes = encoded if name == "plain" else encoded.codes
    assert torch.equal(read(codec, data, lm).codes, codes)
    expected = codec.decode(codes, length=length) if name == "plain" else codec.decode(encoded)
    assert torch.equal(decompress(codec, data, lm=lm), expected[0])
    metadata, start = read_metadata(data)
    assert (metadata.length, metadata.n_codebooks, metadata.uses_lm) == (length, 3, with_lm)
    if not with_lm:
        frames = window_frames(codec, length)
        scales = 4 * len(frames) if name == "windowed" else 0
        assert len(data) - start == scales + sum(-(-3 * 4 * n // 8) for n in frames)


def test_a_language_model_that_knows_saves_bits():
    codec, lm = plain(), language_model()
    x = torch.randn(1, 400)
    codes = codec.encode(x[None])
    with torch.no_grad():
        for k, head in enumerate(lm.heads):
            head.weight.zero_()
            head.bias.copy_(torch.bincount(codes[0, k], minlength=16).add(0.01).log())
    assert len(compress(codec, x, lm=lm)) < 0.9 * len(compress(codec, x))


def test_bandwidth_and_names():
    codec, x = plain(), torch.randn(1, 200)
    assert read_metadata(compress(codec, x, bandwidth=0.8))[0].n_codebooks == 2
    assert name_of(codec) == "unset"
    codec.info = SimpleNamespace(name="nexus/mine")
    assert name_of(codec) == "nexus/mine"
    with torch.device("meta"):
        assert name_of(Encodec(EncodecConfig.encodec_24khz())) == "encodec_24khz"
        assert name_of(WindowedEncodec(WindowedEncodecConfig.encodec_48khz())) == "encodec_48khz"


def header(**changes) -> bytes:
    values = {"m": "unset", "al": 100, "nc": 3, "lm": False} | changes
    text = json.dumps(values).encode()
    return struct.pack("!4sBI", b"ECDC", 0, len(text)) + text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begin with ECDC"),
        (b"RIFF" + bytes(40), "begin with ECDC"),
        (b"ECDC\x01" + bytes(4), "version 1"),
        (b"ECDC\x00\xff\xff\xff\xff", "bytes of metadata"),
        (struct.pack("!4sBI", b"ECDC", 0, 4000) + b"[" * 4000, "unreadable metadata"),
        (struct.pack("!4sBI", b"ECDC", 0, 3) + b"{}\xff", "unreadable metadata"),
        (struct.pack("!4sBI", b"ECDC", 0, 2) + b"[]", "unreadable metadata"),
        (header(al=True), "metadata are"),
        (header(al=-5), "metadata are"),
        (header(nc=0), "metadata are"),
        (header(lm=1), "metadata are"),
        (header(m="encodec_24khz"), "of 'encodec_24khz', the codec is 'unset'"),
        (header(nc=4) + bytes(99), "4 codebooks, the codec 3"),
        (header(lm=True) + bytes(99), "give it as lm"),
        (header(al=10**15), "claims 1250000000000 s"),
        (header(al=11_000_000), "cut off"),
        (header() + bytes(18), "cut off"),
        (header() + bytes(21), "1 bytes too many"),
    ],
)
def test_what_is_wrong_is_said(data, message):
    with pytest.raises(ValueError, match=message):
        decompress(plain(), data)


def test_absurd_lengths_cost_nothing_with_a_language_model():
    """Three hours in twenty bytes: even the likeliest codes would need more."""
    with pytest.raises(ValueError, match="cut off"):
        decompress(plain(), header(lm=True, al=800 * 10_000) + bytes(20), lm=language_model())


def test_scales_must_be_numbers():
    data = bytearray(compress(windowed(), torch.randn(2, 50)))
    start = read_metadata(bytes(data))[1]
    data[start : start + 4] = struct.pack("!f", float("nan"))
    with pytest.raises(ValueError, match="scale nan"):
        decompress(windowed(), bytes(data))


def test_what_does_not_fit_is_refused_on_writing():
    codec = Encodec(EncodecConfig(seanet=SEANET, quantizer=QuantizerConfig(codebook_size=12, dim=4))).eval()
    with pytest.raises(ValueError, match="power of two"):
        compress(codec, torch.randn(1, 50))
    other = EncodecLM(EncodecLMConfig(n_codebooks=2, codebook_size=16, dim=8, n_layers=1, n_heads=2, context=20))
    with pytest.raises(ValueError, match="of 2 codebooks of 16"):
        compress(plain(), torch.randn(1, 50), lm=other)


FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@FUZZ
@given(
    name=st.sampled_from(sorted(CODECS)),
    with_lm=st.booleans(),
    keep=st.integers(0, 400),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    tail=st.binary(max_size=8),
)
def test_damage_gives_sound_or_a_clear_error(name, with_lm, keep, changes, tail):
    (make, channels), lm = CODECS[name], language_model() if with_lm else None
    codec = make()
    data = bytearray(compress(codec, torch.randn(channels, 150, generator=torch.Generator().manual_seed(0)), lm=lm))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        waveform = decompress(codec, bytes(data[:keep]) + tail, lm=lm, max_seconds=10.0)
    except ValueError as error:
        assert str(error)
    else:
        assert waveform.shape[0] == channels
        assert waveform.shape[1] <= 10 * codec.sample_rate


@FUZZ
@given(st.binary(max_size=64), st.integers(1, 10**30), st.integers(1, 5), st.booleans())
def test_noise_gives_sound_or_a_clear_error(noise, length, n_codebooks, with_lm):
    lm = language_model() if with_lm else None
    try:
        decompress(plain(), header(al=length, nc=n_codebooks, lm=with_lm) + noise, lm=lm, max_seconds=5.0)
    except ValueError as error:
        assert str(error)


def original_codec(package, kind: str):
    """The original's codec, small, under an official name, and our own with its weights."""
    torch.manual_seed(0)
    stereo = kind == "encodec_48khz"
    options = {
        "channels": 2 if stereo else 1,
        "dimension": 8,
        "n_filters": 4,
        "norm": "time_group_norm" if stereo else "weight_norm",
        "causal": not stereo,
    }
    modules = package.modules
    model = package.EncodecModel(
        modules.SEANetEncoder(**options),
        modules.SEANetDecoder(**options),
        package.quantization.ResidualVectorQuantizer(dimension=8, n_q=4, bins=32),
        [1.5, 3.0],
        48000 if stereo else 24000,
        options["channels"],
        normalize=stereo,
        segment=1.0 if stereo else None,
        name=kind,
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # redrawn, or sound would fade on its way and all codes be equal
            is_scale = parameter.ndim == 3 and parameter.shape[1:].numel() == 1
            parameter.copy_(torch.randn_like(parameter) * 0.3 + is_scale)
        latent = model.encoder(torch.randn(1, options["channels"], 6000))
        for layer in model.quantizer.vq.layers:
            layer._codebook.embed.copy_(torch.randn_like(layer._codebook.embed) * latent.std())
    return model


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("kind", "length"), [("encodec_24khz", 4001), ("encodec_24khz", 6400), ("encodec_48khz", 52000)]
)
@pytest.mark.parametrize("with_lm", [False, True])
def test_equals_the_original_byte_for_byte(encodec_package, monkeypatch, tmp_path, kind, length, with_lm):
    files = sys.modules["encodec.compress"]
    original = original_codec(encodec_package, kind)
    torch.save(original.state_dict(), tmp_path / f"{kind}.th")
    codec = nexus.load(tmp_path / f"{kind}.th", device="cpu")
    codec.info = SimpleNamespace(name=kind)
    theirs = encodec_package.model.LMModel(4, 32, dim=24, num_layers=1, past_context=9).eval()
    ours = EncodecLM(EncodecLMConfig(n_codebooks=4, codebook_size=32, dim=24, n_layers=1, context=9)).eval()
    names = {"emb": "embeddings", "linears": "heads"}
    state = {n.removeprefix("transformer."): t for n, t in theirs.state_dict().items()}
    ours.load_state_dict(
        {".".join([names.get(n.split(".")[0], n.split(".")[0]), *n.split(".")[1:]]): t for n, t in state.items()}
    )
    original.get_lm_model = lambda: theirs
    monkeypatch.setitem(files.MODELS, kind, lambda: original)

    x = torch.randn(original.channels, length) * 0.3
    expected = files.compress(original, x, use_lm=with_lm)
    lm = ours if with_lm else None
    assert len(read(codec, expected, lm).codes.unique()) > 8
    assert compress(codec, x, lm=lm) == expected
    waveform, _ = files.decompress(expected)
    torch.testing.assert_close(decompress(codec, expected, lm=lm), waveform, atol=1e-5, rtol=1e-4)
    assert waveform.std() > 1e-3


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_lengths_at_which_the_original_fails(encodec_package):
    """Two windows of which the last is so short that the first, decoded, reaches beyond it."""
    original, length = original_codec(encodec_package, "encodec_48khz"), 47520 + 200
    x = torch.randn(1, 2, length) * 0.3
    with torch.no_grad(), pytest.raises(RuntimeError):
        original.decode(original.encode(x))
    codec = WindowedEncodec(WindowedEncodecConfig.encodec_48khz())
    assert window_frames(codec, length) == [150, 1]
    assert write(windowed(), read(windowed(), compress(windowed(), torch.randn(2, 100))))
