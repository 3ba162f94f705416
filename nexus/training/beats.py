"""An auxiliary task for models of music: where in the beat each frame lies, and how fast the beat goes.

Codes say little about tempo: a note that comes a little late costs next to nothing. Asked for the beat at every frame,
also the first, the model has to read the tempo in the prompt and to keep time; the heads are thrown away afterwards.
Axes: B batch, T frames, D width.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

PHASES = 16  # of a beat
TEMPI = 40  # classes of 3.5 %
SLOWEST = 40.0  # beats a minute
STEP = math.log(1.035)


class BeatHeads(nn.Module):
    def __init__(self, dim: int, frames_per_minute: float):
        super().__init__()
        self.phase, self.tempo = nn.Linear(dim, PHASES), nn.Linear(dim, TEMPI)
        self.frames_per_minute = frames_per_minute

    def loss(self, hidden: Float[Tensor, "B T D"], beats: Float[Tensor, "B T"]) -> dict[str, Tensor]:
        """Cross-entropies of the part of the beat, and of the tempo, from the states that predict the frames.

        Args:
            beats: beats since the beginning at the start of each frame, at least two frames.
        """
        phase = (beats % 1 * PHASES).long().clamp(max=PHASES - 1)
        bpm = (beats[:, 1] - beats[:, 0]) * self.frames_per_minute
        tempo = ((bpm / SLOWEST).log() / STEP).round().long().clamp(0, TEMPI - 1)
        tempi = tempo[:, None].expand(phase.shape)
        return {
            "beat_phase": F.cross_entropy(self.phase(hidden).float().mT, phase),
            "beat_tempo": F.cross_entropy(self.tempo(hidden).float().mT, tempi),
        }
