"""VGGish (arXiv:1609.09430): 128 numbers for each 0.96 s of sound, as the first Fréchet audio distance heard.

The weights are those of `harritaylor/torchvggish` (vggish-10086976.pth), Google's in PyTorch's layout.

Axes: N windows, L samples, T frames, M mel bands.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from nexus.hub.tensors import load_strict, read_tensors
from nexus.media import Audio
from nexus.metrics.embedding import Embedding
from nexus.metrics.judge import MissingJudge, digest
from nexus.metrics.judge_weights import judge_file

JUDGE, FILE, SOURCE = "VGGish", "vggish-10086976.pth", "vggish-10086976.pth of harritaylor/torchvggish"
RATE, WINDOW, HOP, N_FFT = 16_000, 400, 160, 512  # Hz, samples
N_MELS, LOW, HIGH = 64, 125.0, 7500.0  # Hz
FLOOR = 0.01  # added before the logarithm
FRAMES = 96  # of a window


class VGGish(nn.Module):
    """VGG's configuration A on log-mels, without the last activation: an embedding may be negative."""

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        last = 1
        for widths in ((64,), (128,), (256, 256), (512, 512)):
            for width in widths:
                layers += [nn.Conv2d(last, width, 3, padding=1), nn.ReLU()]
                last = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 4 * 6, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128)
        )

    def forward(self, mel: Float[Tensor, "N T M"]) -> Float[Tensor, "N 128"]:
        x = self.features(mel[:, None])  # [N, 512, 6, 4]
        return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))  # in TensorFlow's order


def mel_weights() -> Float[ndarray, "F M"]:
    """Triangles in mel, not in Hz, on the scale 1127 ln(1 + f / 700)."""

    def mel(hertz):
        return 1127 * np.log(1 + np.asarray(hertz, dtype=np.float64) / 700)

    bins = mel(np.linspace(0, RATE / 2, N_FFT // 2 + 1))[:, None]
    edges = np.linspace(mel(LOW), mel(HIGH), N_MELS + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    return np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(min=0)


def windows_of(audio: Audio) -> Float[Tensor, "N T M"]:
    """Log-mels of each whole 0.96 s; what is over is left out.

    Raises:
        ValueError: less than one window of sound.
    """
    samples = torch.tensor(audio.mono().resample(RATE).samples[0], dtype=torch.float64)
    n = 1 + (len(samples) - WINDOW) // HOP if len(samples) >= WINDOW else 0
    if n < FRAMES:
        raise ValueError(f"{JUDGE} needs 0.98 s of sound, got {audio.seconds:.2f} s")
    frames = samples.unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW, dtype=torch.float64)
    spectrum = torch.fft.rfft(frames, N_FFT).abs()
    mel = (spectrum @ torch.from_numpy(mel_weights()) + FLOOR).log()
    return mel[: n // FRAMES * FRAMES].reshape(-1, FRAMES, N_MELS).float()


def vggish_embedding() -> Embedding:
    """Raises MissingJudge."""
    file = judge_file(JUDGE, FILE, SOURCE)
    network = VGGish()
    try:
        load_strict(network, read_tensors(file), file.name)
    except ValueError as error:
        raise MissingJudge(f"{JUDGE} wants {SOURCE}: {error}") from None
    network.eval().requires_grad_(False)

    @torch.no_grad()
    def embed(audio: Audio) -> Float[ndarray, "N D"]:
        return network(windows_of(audio)).numpy().astype(np.float64)

    return Embedding(
        name=JUDGE, version="nexus 1", weights=digest(file), rate=RATE, windows="0.96 s, without overlap", embed=embed
    )
