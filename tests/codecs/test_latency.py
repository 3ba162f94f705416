"""First-frame latency, against streams fed sample by sample, and of the official EnCodec shapes."""

import dataclasses

import pytest
import torch

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.latency import first_frame_latency
from nexus.codecs.seanet import SEANetConfig
from nexus.nn.quantize import QuantizerConfig

SMALL = EncodecConfig(
    seanet=SEANetConfig(n_filters=2, ratios=(3, 2), n_lstm_layers=1),
    quantizer=QuantizerConfig(n_codebooks=2, codebook_size=8, dim=4),
)


def padded(pad_mode: str, **options) -> SEANetConfig:
    return dataclasses.replace(SMALL.seanet, pad_mode=pad_mode, **options)


@pytest.mark.parametrize("seanet", [padded("constant"), padded("reflect"), padded("reflect", causal=False)])
def test_sample_by_sample(seanet):
    torch.manual_seed(0)
    codec = Encodec(dataclasses.replace(SMALL, seanet=seanet)).eval()
    first_codes = first_sound = 0
    with codec.streaming() as stream:
        for n in range(1, 200):
            codes = stream.encode(torch.randn(1, 1, 1))
            first_codes = first_codes or n * (codes.shape[-1] > 0)
            first_sound = first_sound or n * (stream.decode(codes).shape[-1] > 0)
    assert first_frame_latency(codec) == (first_codes, first_sound)
    if seanet.pad_mode == "constant":
        assert (first_codes, first_sound) == (6, 6)


def test_of_the_official_shapes():
    """The causal 24 kHz codec reflects at its start, and so hears seven frames of 320 before its first."""
    narrow = SEANetConfig(n_filters=2, n_lstm_layers=1)
    quantizer = QuantizerConfig(n_codebooks=1, codebook_size=2, dim=2)
    assert first_frame_latency(Encodec(EncodecConfig(seanet=narrow, quantizer=quantizer))) == (2240, 2240)
    constant = dataclasses.replace(narrow, pad_mode="constant")
    assert first_frame_latency(Encodec(EncodecConfig(seanet=constant, quantizer=quantizer))) == (320, 320)


def test_a_codec_that_says_nothing():
    class Silent:
        def streaming(self):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def encode(self, chunk):
            return chunk[..., :0]

    with pytest.raises(ValueError, match="nothing after 4 samples"):
        first_frame_latency(Silent(), longest=3)
