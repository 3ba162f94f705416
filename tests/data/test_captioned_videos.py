import numpy as np
import pytest
import torch

from nexus.data.captioned_videos import CaptionedVideos


def videos(made_share=0.5, batch_size=40, n_made=3, seed=1):
    """Clip i is of one grey, and so are its captions' states."""
    grey = np.arange(1, 8, dtype=np.uint8)[:, None, None, None, None] * 30
    frames = np.broadcast_to(grey, (7, 9, 4, 4, 3)).copy()
    frames[:, ::2] += 5  # frames 0, 2, ... are brighter
    captions = ["a", "b", "b", "c", "d", "e", "a"][: 4 + n_made]
    text = torch.arange(4 + n_made)[:, None].float().expand(-1, 2)
    return CaptionedVideos(
        frames[:4], frames[4 : 4 + n_made], captions, text,
        n_frames=3, batch_size=batch_size, made_share=made_share, seed=seed,
    )  # fmt: skip


def test_clips_words_and_which_are_the_same_belong_together():
    batch = videos()[3]
    rows = batch["text"][:, 0, 0].long()
    assert batch["video"].shape == (40, 3, 3, 4, 4) and batch["video"].abs().max() <= 1
    words = np.array(["a", "b", "b", "c", "d", "e", "a"])[rows]
    assert (batch["same"].numpy() == (words[:, None] == words)).all()
    # Worn by chance, but on the whole the clip's own grey.
    for row in set(rows.tolist()):
        seen = batch["video"][rows == row].mean()
        assert seen == pytest.approx(((row + 1) * 30 + 5) / 127.5 - 1, abs=0.15)
    again = videos()[3]
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert not torch.equal(videos()[4]["video"], batch["video"])


def test_the_share_of_made_clips():
    for share, made in ((0.0, 0.0), (1.0, 1.0), (0.5, 0.5)):
        rows = torch.cat([videos(share)[i]["text"][:, 0, 0] for i in range(10)])
        assert (rows >= 4).float().mean() == pytest.approx(made, abs=0.08)
    rows = videos(1.0, n_made=0)[0]["text"]
    assert (rows < 4).all()  # where none is made


def test_captions_must_be_as_many_as_clips():
    with pytest.raises(ValueError, match=r"1 clips and 0 made ones .* got 2 and 1"):
        frames = np.zeros((1, 2, 4, 4, 3), np.uint8)
        CaptionedVideos(
            frames, frames[:0], ["a", "b"], torch.zeros(1, 2), n_frames=2, batch_size=1, made_share=0.0, seed=0
        )
