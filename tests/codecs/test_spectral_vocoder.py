"""The vocoder of spectra: lengths, alignment, streams, batches, learning, its folder."""

import pytest
import torch

from nexus.codecs.spectral_codec import BlocksConfig
from nexus.codecs.spectral_vocoder import SpectralVocoder, SpectralVocoderConfig
from nexus.hub import native
from nexus.hub.source import Source
from nexus.recipes.find import find_recipe

SMALL = SpectralVocoderConfig(
    sample_rate=8000,
    n_fft=64,
    hop_length=16,
    n_features=12,
    blocks=BlocksConfig(in_dim=12, dim=16, hidden_dim=24, n_layers=1),
    n_iterations=3,
)


def vocoder(config: SpectralVocoderConfig = SMALL) -> SpectralVocoder:
    torch.manual_seed(0)
    model = SpectralVocoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / max(parameter[0].numel(), 4) ** 0.5)
    return model


def glide(length: int, n_items: int = 1) -> torch.Tensor:
    t = torch.arange(length) / 8000
    return torch.stack([0.3 * torch.sin(2 * torch.pi * (300 * (i + 1) * t + 400 * t**2)) for i in range(n_items)])[
        :, None
    ]


class Given(torch.nn.Module):
    """Gives the magnitudes that it was made with."""

    def __init__(self, magnitudes: torch.Tensor):
        super().__init__()
        self.magnitudes = magnitudes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.magnitudes.clamp(min=1e-5).log()


def test_true_magnitudes_give_the_sound_where_it_was():
    model = vocoder(SpectralVocoderConfig(sample_rate=8000, n_fft=256, hop_length=64, n_features=12, n_iterations=100))
    x = glide(8000) * torch.sin(torch.arange(8000) / 300)
    magnitudes = torch.stft(x[:, 0], 256, 64, 256, torch.hann_window(256), center=True, return_complex=True).abs()
    model.decoder.layers[0] = Given(magnitudes)
    y = model.decode(model.features(x))
    assert y.shape[-1] == 8000 // 64 * 64
    energies = [z[0, 0, :7936].unfold(0, 128, 128).square().mean(1) for z in (x, y)]
    assert torch.corrcoef(torch.stack(energies))[0, 1] > 0.99  # loud and soft where it was, to 16 ms
    again = torch.stft(y[:, 0], 256, 64, 256, torch.hann_window(256), center=True, return_complex=True).abs()
    assert (again - magnitudes[..., : again.shape[-1]]).norm() / magnitudes.norm() < 0.1


@pytest.mark.parametrize("length", [40, 333, 1600])
def test_the_length_is_that_of_centred_windows_and_an_item_is_what_it_is_alone(length):
    model, x = vocoder(), glide(length, 3)
    mel = model.features(x)
    y = model.decode(mel)
    assert y.shape == (3, 1, (mel.shape[2] - 1) * 16) and y.abs().max() > 1e-3
    torch.testing.assert_close(model.decode(mel[1:2])[0], y[1], rtol=1e-4, atol=1e-4)


def test_no_frames_are_no_sound():
    assert vocoder().decode(torch.zeros(2, 12, 0)).shape == (2, 1, 0)


@pytest.mark.parametrize("chunk", [1, 5, 17])
def test_a_stream_gives_what_the_whole_gives(chunk):
    model = vocoder()
    mel = model.features(glide(1500, 2))
    with model.streaming() as stream:
        parts = mel.split(chunk, dim=2)
        heard = [stream.decode(part, last=i == len(parts) - 1) for i, part in enumerate(parts)]
    torch.testing.assert_close(torch.cat(heard, dim=2), model.decode(mel), rtol=1e-4, atol=1e-4)


def test_nothing_beyond_the_look_ahead_is_heard():
    model = vocoder()
    mel = model.features(glide(3000))
    other = mel.clone()
    other[..., 120:] += 1
    same = (120 - model.look_ahead) * 16 - 8
    a, b = (model.decode(m)[..., :same] for m in (mel, other))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert not torch.allclose(model.decode(mel), model.decode(other), atol=1e-3)


def test_it_learns():
    torch.manual_seed(0)
    model, batch = SpectralVocoder(SMALL), {"waveform": glide(2000, 4)}
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=1e-2), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert losses[-1] < 0.5 * losses[0]


def test_its_folder_is_loaded_back(tmp_path):
    model = vocoder()
    model.save(tmp_path)
    loaded = native.load(Source(str(tmp_path), tmp_path)).eval()
    mel = model.features(glide(500))
    assert isinstance(loaded, SpectralVocoder) and torch.equal(loaded.decode(mel), model.decode(mel))


def test_the_recipe_starts_as_a_vocos_does():
    recipe = find_recipe("spectral-vocoder-tiny")
    model = recipe.networks()["model"]
    assert isinstance(model, SpectralVocoder)
    x = glide(24000)
    with torch.no_grad():
        start, fresh = (m.loss({"waveform": x})["mel"] for m in (model, SpectralVocoder(model.config)))
    assert start < 0.7 * fresh


def test_what_is_refused():
    with pytest.raises(ValueError, match="takes 12 mel bins, got 11"):
        vocoder().decode(torch.zeros(1, 11, 4))
    with pytest.raises(ValueError, match="n_fft at least twice hop_length"):
        SpectralVocoderConfig(hop_length=1024)
