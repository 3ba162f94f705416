"""How much people would like a picture: LAION's linear head on CLIP ViT-L/14 (`LAION-AI/aesthetic-predictor`)."""

from nexus.hub.tensors import read_tensors
from nexus.media import Image, Video
from nexus.metrics.clip_score import CROP, Clip, pictures_of
from nexus.metrics.judge import Judge, Measure, MissingJudge, Sample, Verdict, digest, version
from nexus.metrics.judge_weights import judge_file

JUDGE, HEAD = "LAION aesthetics", "sa_0_4_vit_l_14_linear.pth"
SOURCE = f"the head {HEAD} of LAION-AI/aesthetic-predictor"
NAME = "aesthetic score"


class Aesthetics:
    """The mark that people give on average, about 1 to 10, as a linear function of CLIP's embedding.

    Raises:
        MissingJudge: the head or CLIP is not there, or they do not fit each other.
    """

    def __init__(self):
        self.file = judge_file(JUDGE, HEAD, SOURCE)
        self.clip = Clip()
        self._head = read_tensors(self.file)
        wanted = {"weight": (1, self.clip.dim), "bias": (1,)}
        if (found := {name: tuple(tensor.shape) for name, tensor in self._head.items()}) != wanted:
            raise MissingJudge(f"{JUDGE} wants {SOURCE}, with {wanted}; {self.file} has {found}")

    def score(self, shown: Image | Video) -> float:
        """Of a film the mean over four frames."""
        seen = self.clip.see(pictures_of(shown))
        return float((seen @ self._head["weight"].float().T + self._head["bias"].float()).mean())


def aesthetics_judge() -> Judge:
    """Raises MissingJudge."""
    taste = Aesthetics()

    def values(sample: Sample) -> Verdict:
        return Verdict(values={NAME: taste.score(sample.made)})

    return Judge(
        name=JUDGE, version=version("transformers"), weights=digest(taste.file, taste.clip.weights), crop=CROP,
        measures=(Measure(name=NAME),), values=values,
    )  # fmt: skip
