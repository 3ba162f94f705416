"""An item of a batch of unequal lengths equals it alone, whatever the codec hears beyond an end."""

import dataclasses

import pytest
import torch

from nexus.codecs.batches import decode_batch, each, encode_batch
from nexus.codecs.dac import Dac, DacConfig
from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.encodec_windows import WindowedCodes, WindowedEncodec, WindowedEncodecConfig
from nexus.codecs.facodec import FACodec, FACodecConfig
from nexus.codecs.fsq_codec import FSQCodec, FSQCodecConfig, HalfConfig
from nexus.codecs.mimi import Mimi, MimiConfig, mimi_seanet
from nexus.codecs.seanet import SEANetConfig
from nexus.codecs.soundstream import SoundStream, SoundStreamConfig
from nexus.codecs.spectral_codec import BlocksConfig, SpectralCodec, SpectralCodecConfig
from nexus.nn.fsq import FSQConfig
from nexus.nn.quantize import QuantizerConfig
from nexus.nn.sliding import SlidingTransformerConfig

RATE = 8000
QUANTIZER = QuantizerConfig(n_codebooks=3, codebook_size=16, dim=8)
SEANET = SEANetConfig(n_filters=4, ratios=(4, 2), n_lstm_layers=1)
BLOCKS = BlocksConfig(in_dim=12, dim=8, hidden_dim=8, n_layers=1)
SMALL = {"codebook_size": 16, "codebook_dim": 4}
STEREO = EncodecConfig(
    sample_rate=RATE,
    channels=2,
    seanet=dataclasses.replace(SEANET, causal=False, weight_norm=False, group_norm=True),
    quantizer=QUANTIZER,
)
CODECS = {
    "encodec": lambda: Encodec(EncodecConfig(sample_rate=RATE, seanet=SEANET, quantizer=QUANTIZER)),
    "windows": lambda: WindowedEncodec(WindowedEncodecConfig(codec=STEREO, window_length=400, stride=392)),
    "soundstream": lambda: SoundStream(
        SoundStreamConfig(sample_rate=RATE, n_filters=4, strides=(2, 4), quantizer=QUANTIZER)
    ),
    "dac": lambda: Dac(
        DacConfig(sample_rate=RATE, encoder_dim=4, decoder_dim=16, latent_dim=12, ratios=(2, 4), n_codebooks=3, **SMALL)
    ),
    "facodec": lambda: FACodec(
        FACodecConfig(
            sample_rate=RATE, encoder_dim=4, decoder_dim=8, dim=8, ratios=(2, 4), n_layers=1, hidden_dim=12, **SMALL
        )
    ),
    "fsq": lambda: FSQCodec(
        FSQCodecConfig(
            sample_rate=RATE,
            encoder=HalfConfig(dim=8, ratios=(2, 4)),
            decoder=HalfConfig(dim=32, ratios=(4, 2), last_kernel_size=3),
            quantizer=FSQConfig(n_groups=3, levels=(4, 4)),
        )
    ),
    "spectral": lambda: SpectralCodec(
        SpectralCodecConfig(
            sample_rate=RATE,
            n_fft=64,
            hop_length=16,
            n_mels=12,
            encoder=BLOCKS,
            quantizer=QUANTIZER,
            decoder=BLOCKS,
            n_iterations=0,
        )
    ),
    "mimi": lambda: Mimi(
        MimiConfig(
            sample_rate=RATE,
            latent_dim=16,
            seanet=dataclasses.replace(mimi_seanet(), n_filters=4, ratios=(2, 2)),
            transformer=SlidingTransformerConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32, window=10),
            upsample_groups=16,
            quantizer=QUANTIZER,
        )
    ),
}  # fmt: skip
LENGTHS = torch.tensor([801, 37, 801, 640])


@pytest.fixture(params=CODECS)
def codec(request):
    torch.manual_seed(0)
    return CODECS[request.param]().eval()


@torch.no_grad()
def test_items_are_as_alone(codec):
    x = 0.3 * torch.randn(4, codec.channels, 801)
    beside = (torch.randn(4, 8),) if isinstance(codec, FACodec) else ()
    codes = encode_batch(codec, x, LENGTHS)
    waveform = decode_batch(codec, codes, LENGTHS, *beside)
    assert waveform.shape == x.shape
    for i, length in enumerate(LENGTHS.tolist()):
        alone = codec.encode(x[i : i + 1, :, :length])
        if isinstance(alone, WindowedCodes):
            assert torch.equal(alone.codes, codes[i].codes) and alone.length == codes[i].length == length
            torch.testing.assert_close(codes[i].scales, alone.scales)
            heard = codec.decode(alone)
        else:
            assert torch.equal(codes[i], alone[0])
            assert codes[i].shape == (codec.n_codebooks, -(-length // codec.hop_length))
            heard = codec.decode(alone, *(rows[i : i + 1] for rows in beside), length=length)
        torch.testing.assert_close(waveform[i : i + 1, :, :length], heard, atol=1e-5, rtol=1e-4)
        assert not waveform[i, :, length:].any()


def test_what_a_codec_says_of_itself(codec):
    assert codec.sample_rate == RATE and codec.frame_rate == RATE / codec.hop_length
    assert codec.codebook_size == 16 and codec.channels == (2 if isinstance(codec, WindowedEncodec) else 1)
    beside = 0 if not isinstance(codec, WindowedEncodec) else 32 * RATE / 392
    overlap = 400 / 392 if beside else 1
    assert codec.bitrate == pytest.approx(codec.n_codebooks * 4 * codec.frame_rate * overlap + beside)


def test_wrong_samples_are_refused(codec):
    n = codec.channels
    for waveform, sentence in (
        (torch.zeros(1, n + 1, 100), f"got {n + 1} channels"),
        (torch.zeros(1, n, 0), "an empty waveform has no codes"),
        (torch.full((1, n, 100), torch.nan), "must be finite numbers"),
        (torch.full((1, n, 100), torch.inf), "must be finite numbers"),
    ):
        with pytest.raises(ValueError, match=sentence):
            codec.encode(waveform)
        if waveform.shape[-1]:
            with pytest.raises(ValueError, match=sentence), codec.streaming() as stream:
                stream.encode(waveform)


def test_wrong_lengths_are_refused():
    for lengths in (torch.tensor([3]), torch.tensor([3, 11]), torch.tensor([0, 3])):
        with pytest.raises(ValueError, match="lengths must be 2 numbers of samples, 1 to 10 each"):
            each(lambda x: x, torch.zeros(2, 1, 10), lengths)
    with pytest.raises(ValueError, match="each item needs a length, got 2 for 1"):
        decode_batch(None, [torch.zeros(1, 4, dtype=torch.int64)], torch.tensor([1, 2]))
