"""`nexus/sound-tiny`: the same transformer over the synthesised sounds, text by cross-attention, 4 s clips."""

from nexus.recipes.musicgen_tiny import TokenRecipe
from nexus.training.recipe import LoopConfig

recipe = TokenRecipe(
    name="sound-tiny",
    world="sound",
    loop=LoopConfig(steps=4500, precision="auto", ema_decay=0.998, save_every=200, sample_every=0, validate_every=200),
    n_clips=4000,
    n_valid=120,
    clip_seconds=4.0,
    n_captions=3,
    crop_lengths=(188,),
    n_starts=0,
    frames_per_batch=1880,
    with_melody=False,
    own_share=0.0,
    with_controls=False,
    temperature=1.0,
    candidates=4,
    export_in_8_bits=True,
)
