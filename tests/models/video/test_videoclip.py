"""Which words fit a clip: what is seen of it, of any size and length, and clips told apart."""

import numpy as np
import pytest
import torch

from nexus.media.video import Video
from nexus.models.video.videoclip import VideoCLIP, VideoCLIPConfig

SMALL = VideoCLIPConfig(size=16, width=16, n_blocks=1, text_dim=8, dim=12, dropout=0.0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VideoCLIP(SMALL).eval()


def clips(n, frames=9, size=(16, 16), seed=0):
    return torch.rand(n, 3, frames, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_vectors_are_units_of_any_clip(model):
    for frames, size in ((1, (16, 16)), (2, (9, 40)), (17, (64, 64)), (33, (16, 24))):
        for video in (clips(2, frames, size), torch.zeros(2, 3, frames, *size)):
            torch.testing.assert_close(model.see(video).norm(dim=1), torch.ones(2))


def test_frames_from_all_over_are_seen_in_order(model):
    video = clips(1)
    seen = model.see(video)
    for frame in range(9):
        changed = video.clone()
        changed[:, :, frame] = -changed[:, :, frame]
        assert torch.equal(model.see(changed), seen) == (frame not in (0, 3, 5, 8)), frame
    assert (model.see(video.flip(2)) - seen).abs().max() > 1e-3  # which way things move


def test_a_clip_is_seen_alike_in_every_batch_and_size(model):
    video = clips(3)
    torch.testing.assert_close(model.see(video)[1:2], model.see(video[1:2]), atol=1e-5, rtol=0)
    smooth = torch.nn.functional.interpolate(clips(1, 4, (4, 4))[0], (16, 16), mode="bilinear")[None]
    larger = torch.nn.functional.interpolate(smooth[0], (48, 48), mode="bilinear")[None]
    torch.testing.assert_close(model.see(larger), model.see(smooth), atol=0.05, rtol=0)


def words(prompts):
    states = torch.stack([torch.full((2, 8), float(len(p))).cumsum(1).sin() for p in prompts])
    return states, torch.ones(len(prompts), 2).bool()


def test_clips_are_learnt_apart():
    torch.manual_seed(0)
    model, video, prompts = VideoCLIP(SMALL), clips(6), [" " * n for n in range(6)]
    states, mask = words(prompts)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = model.contrast(model.scores(video, states, mask), torch.eye(6).bool())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []
    model.eval().text_encoder = words
    frames = ((video.permute(0, 2, 3, 4, 1) + 1) * 127.5).round().byte().numpy()
    made = [Video(clip, 8) for clip in frames]
    right = model.similarity(made, prompts)
    wrong = model.similarity(made, prompts[1:] + prompts[:1])
    assert right.shape == (6,) and (right > wrong).all() and right.max() <= 1.001


def test_unequal_counts_are_refused(model):
    clip = Video(np.zeros((2, 16, 16, 3), np.uint8), 8)
    for made, prompts in (([], []), ([clip], ["a", "b"])):
        with pytest.raises(ValueError, match="each clip needs its prompt"):
            model.similarity(made, prompts)
