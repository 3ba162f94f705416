"""`nexus/sound-tiny`: the same transformer over the synthesised sounds, text by cross-attention, 4 s clips."""

from nexus.recipes.musicgen_tiny import TokenRecipe
from nexus.training.recipe import LoopConfig

recipe = TokenRecipe(
    name="sound-tiny",
    world="sound",
    loop=LoopConfig(steps=450, precision="fp32", ema_decay=0.98, save_every=100, sample_every=0, validate_every=100),
    n_clips=1500,
    n_valid=120,
    clip_seconds=4.0,
    n_captions=3,
    crop_lengths=(188,),
    frames_per_batch=940,
    n_layers=4,
    with_melody=False,
)
