import numpy as np
import pytest
import torch

from nexus.data.clips import CachedClips, Clip, cache
from nexus.data.tokens import TokenBatches, encode_captions, encode_clips, kept, melody_of, pad_text
from nexus.models.audio.musicgen import MelodyConfig


@pytest.fixture
def batches():
    """Code values say where they are from: clip, codebook and frame; text states which caption."""
    clip, k, t = torch.meshgrid(torch.arange(3), torch.arange(2), torch.arange(40), indexing="ij")
    lengths = torch.tensor([[2, 3], [1, 4], [5, 2]])
    text = torch.repeat_interleave(torch.arange(6), lengths.flatten())[:, None].half()
    return TokenBatches(
        codes=(1000 * clip + 100 * k + t).short(),
        text=text,
        lengths=lengths,
        melodies=(torch.arange(8) % 12).expand(3, -1).to(torch.uint8),
        frames_per_chroma=5.0,
        score={
            "beats_per_frame": torch.tensor([0.5, 0.25, 0.1]),
            "beats_per_bar": torch.tensor([3, 4, 5]),
            "key": torch.tensor([7, 8, 9]),
            "pitches": (torch.arange(20)[None, None] + 100 * torch.arange(2).repeat(6)[None, :, None])
            .expand(3, -1, -1)
            .byte(),
        },
        frames_per_pitch=2.0,
        crop_lengths=(10, 20),
        frames_per_batch=60,
        seed=1,
    )


def test_crops_captions_and_melodies_belong_together(batches):
    lengths = set()
    for i in range(20):
        batch = batches[i]
        codes, rows = batch["codes"], batch["codes"][:, 0, 0] // 1000
        n_frames = codes.shape[2]
        lengths.add(n_frames)
        assert len(codes) == 60 // n_frames and codes.dtype == torch.int64
        start = codes[:, 0, 0] % 100
        expected = 1000 * rows[:, None] + start[:, None] + torch.arange(n_frames)
        assert torch.equal(codes[:, 0], expected) and torch.equal(codes[:, 1], expected + 100)
        said = batch["text"][:, 0, 0].long()
        assert torch.equal(said // 2, rows)
        assert batch["text_mask"].sum(1).tolist() == batches.lengths.flatten()[said].tolist()
        first = batch["chroma"].argmax(1)[:, 0]
        assert (first - start / 5).abs().max() <= 0.5
        told = batches.score
        for name in ("beats_per_frame", "beats_per_bar", "key"):
            assert torch.equal(batch[name], told[name][rows])
        assert torch.allclose(batch["first_beat"], start * told["beats_per_frame"][rows])
        place = (255 * batch["pitches"]).round().long()
        frames = (start[:, None] + torch.arange(n_frames)) // 2
        assert torch.equal(place[:, 0], frames) and torch.equal(place[:, 1], 100 + frames)
    assert lengths == {10, 20}


def test_a_batch_is_a_function_of_seed_and_index(batches):
    a, b = batches[7], batches[7]
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(batches[8]["codes"], a["codes"]) or batches[8]["codes"].shape != a["codes"].shape


def test_text_is_padded_with_a_mask():
    text, mask = pad_text([torch.ones(2, 4).half(), torch.ones(3, 4).half()])
    assert text.dtype == torch.float32 and mask.tolist() == [[True, True, False], [True, True, True]]
    assert torch.equal(text.sum((1, 2)), torch.tensor([8.0, 12.0]))


def test_melody_is_the_known_note_else_the_loudest_pitch():
    rate, t = 8000, np.arange(16000) / 8000
    tone = np.sin(2 * np.pi * 440 * t).astype(np.float32)
    config = MelodyConfig(sample_rate=rate, n_fft=2048, hop_length=1000, length=16)
    heard = melody_of(Clip(tone, "", {"melody": [[0.5, 0.5, 60]]}), rate, config)
    assert heard[4:8].tolist() == [0] * 4 and heard[1:4].tolist() == [9] * 3 and heard[9:15].tolist() == [9] * 6
    with pytest.raises(ValueError, match="8000"):
        melody_of(Clip(tone, "", {}), 4000, config)


class Stream:
    rate = 8000

    def describe(self):
        return {}

    def __getitem__(self, i):
        return Clip(np.full(20, i / 10, np.float32), "", {"captions": ["a", "b b"]})


@pytest.fixture
def clips(tmp_path):
    cache(Stream(), tmp_path / "clips", 5)
    return CachedClips(tmp_path / "clips")


class Codec:
    def encode(self, waveform):
        return (waveform[:, :, ::5] * 10).round().long().expand(-1, 2, -1)


def words(prompts):
    lengths = torch.tensor([len(prompt.split()) for prompt in prompts])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return mask[..., None].float() * lengths[:, None, None], mask


def test_everything_is_encoded_once(tmp_path, clips):
    codes = encode_clips(Codec(), clips, batch_size=2)["codes"]
    assert codes.shape == (5, 2, 4) and codes[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    text = encode_captions(words, clips, 3)
    assert text["lengths"].tolist() == [[1, 2, 1]] * 5 and text["text"][:4, 0].tolist() == [1, 2, 2, 1]
    calls = []

    def make():
        calls.append(1)
        return {"codes": codes}

    for _ in range(2):
        assert torch.equal(kept(tmp_path / "new" / "codes.safetensors", make)["codes"], codes)
    assert calls == [1] and [p.name for p in (tmp_path / "new").iterdir()] == ["codes.safetensors"]
