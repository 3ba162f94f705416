"""Animals and people."""

import numpy as np

from nexus.data.sound.primitives import Studio, band, burst, coloured, harmonics, hump, put, sweep, wander
from nexus.data.sound.weather import Sound

COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


def birdsong(studio: Studio) -> Sound:
    several = studio.rng.random() < 0.5
    wave = 0.01 * band(coloured(studio, 1), 300, 6000, studio.rate)
    for _ in range(3 if several else 1):
        base, motif = studio.between(2200, 4800), studio.rng.uniform(-0.35, 0.35, (4, 2))
        now, strength = studio.between(0.05, 0.8), studio.between(0.4, 1) if several else 1.0
        while now < studio.seconds - 0.3:
            for start, slide in motif[: studio.rng.integers(2, 5)]:
                chirp = studio.shorter(studio.between(0.05, 0.16))
                x = chirp.time / chirp.seconds
                curve = (
                    base * (1 + start + slide * np.sin(np.pi * x)) * (1 + 0.02 * np.sin(2 * np.pi * 40 * chirp.time))
                )
                put(wave, strength * sweep(curve, studio.rate) * hump(chirp.length, 0.3), now, studio.rate)
                now += chirp.seconds + studio.between(0.02, 0.06)
            now += studio.between(0.3, 0.9)
    if several:
        return wave, ("birds singing", "a chorus of birds", "birdsong in the morning", "several birds chirping")
    return wave, ("a bird singing", "a songbird chirps", "a single bird chirping")


def crickets(studio: Studio) -> Sound:
    wave = 0.01 * band(coloured(studio, 1), 200, 4000, studio.rate)
    for _ in range(int(studio.rng.integers(2, 6))):
        pitch, rate, offset = studio.between(3800, 5600), studio.between(1.5, 3.2), studio.between(0, 1)
        pulse = np.maximum(np.sin(2 * np.pi * studio.between(28, 45) * studio.time), 0) ** 2
        chirp = ((studio.time * rate + offset) % 1 < 0.45).astype(float)
        chirp = np.convolve(chirp, np.ones(200) / 200, "same")
        tone = sweep(np.full(studio.length, pitch), studio.rate)
        wave += studio.between(0.3, 1) * tone * pulse * chirp
    return wave, ("crickets chirping", "crickets at night", "a summer night with crickets")


def frogs(studio: Studio) -> Sound:
    wave = 0.02 * band(coloured(studio, 1), 200, 3000, studio.rate)
    for _ in range(int(studio.rng.integers(1, 4))):
        pitch, now = studio.between(350, 700), studio.between(0.05, 0.6)
        while now < studio.seconds - 0.3:
            croak = studio.shorter(studio.between(0.2, 0.4))
            pulses = np.maximum(np.sin(2 * np.pi * studio.between(26, 40) * croak.time), 0) ** 3
            body = harmonics(np.full(croak.length, pitch), (0.5, 1, 0.8, 0.5, 0.3), studio.rate)
            put(wave, body * pulses * hump(croak.length, 0.5), now, studio.rate)
            now += croak.seconds + studio.between(0.3, 0.9)
    return wave, ("frogs croaking", "frogs at a pond", "croaking frogs")


def owl(studio: Studio) -> Sound:
    wave = 0.012 * band(coloured(studio, 1.2), 100, 3000, studio.rate)
    pitch, now = studio.between(330, 480), studio.between(0.1, 0.4)
    while now < studio.seconds - 0.5:
        for seconds in (0.18, 0.5):
            hoot = studio.shorter(seconds)
            curve = pitch * (1 + 0.06 * hump(hoot.length, 0.3))
            put(wave, harmonics(curve, (1, 0.15, 0.08), studio.rate) * hump(hoot.length, 0.3), now, studio.rate)
            now += seconds + 0.12
        now += studio.between(0.5, 0.9)
    return wave, ("an owl hooting", "an owl at night", "the hoot of an owl")


def seagulls(studio: Studio) -> Sound:
    several = studio.rng.random() < 0.5
    wave = 0.015 * band(coloured(studio, 1.2), 100, 2500, studio.rate)
    for _ in range(3 if several else 1):
        pitch, now = studio.between(750, 1150), studio.between(0.05, 0.7)
        while now < studio.seconds - 0.3:
            for _ in range(int(studio.rng.integers(1, 5))):
                cry = studio.shorter(studio.between(0.18, 0.45))
                x = cry.time / cry.seconds
                curve = pitch * (1 + 0.55 * np.sin(np.pi * x**0.6) - 0.2 * x) * (1 + 0.02 * wander(cry, 30))
                tone = harmonics(curve, (1, 0.8, 0.6, 0.35, 0.2), studio.rate)
                put(wave, tone * hump(cry.length, 0.25) * studio.between(0.5, 1), now, studio.rate)
                now += cry.seconds + studio.between(0.04, 0.12)
            now += studio.between(0.4, 1.2)
    if several:
        return wave, ("seagulls calling", "gulls crying by the sea", "a flock of seagulls")
    return wave, ("a seagull calling", "a gull cries", "the cry of a seagull")


def dog(studio: Studio) -> Sound:
    small = studio.rng.random() < 0.5
    count = int(studio.rng.integers(1, 5))
    wave = 0.005 * coloured(studio, 1)
    pitch = studio.between(500, 750) if small else studio.between(180, 300)
    for i in range(count):
        bark = studio.shorter(studio.between(0.12, 0.2) if small else studio.between(0.2, 0.32))
        curve = pitch * (0.8 + 0.5 * hump(bark.length, 0.3))
        body = harmonics(curve, (0.6, 1, 0.9, 0.7, 0.5, 0.4, 0.3, 0.2), studio.rate)
        rough = 0.5 * band(coloured(bark, 0.6), 500, 3500, studio.rate)
        put(wave, (body + rough) * hump(bark.length, 0.2), 0.15 + i * (studio.seconds - 0.4) / 4, studio.rate)
    size = "small" if small else "big"
    barks = "barks once" if count == 1 else f"barks {COUNTS[count]} times"
    return wave, ("a dog barking" if count > 1 else "a dog barks once", f"a {size} dog {barks}", f"a dog {barks}")


def heartbeat(studio: Studio) -> Sound:
    fast = studio.rng.random() < 0.5
    period = 60 / (studio.between(100, 140) if fast else studio.between(50, 75))
    wave = 0.01 * band(coloured(studio, 1.8), 25, 200, studio.rate)
    now = 0.1
    while now < studio.seconds:
        for delay, pitch, strength in ((0.0, 58, 1.0), (0.16 if fast else 0.28, 74, 0.7)):
            thump = studio.shorter(0.16)
            curve = pitch * (1 + 0.5 * np.exp(-thump.time * 40))
            tone = harmonics(curve, (1, 0.5, 0.25), studio.rate)
            put(wave, strength * tone * hump(thump.length, 0.15), now + delay, studio.rate)
        now += period
    return wave, ("a fast heartbeat", "a heart beating fast") if fast else (
        "a slow heartbeat",
        "a heart beating slowly",
    )


def applause(studio: Studio) -> Sound:
    large = studio.rng.random() < 0.5
    wave = 0.02 * coloured(studio, 1)
    for _ in range(70 if large else 9):
        clap = burst(studio, 0.04, studio.between(0.004, 0.01), studio.between(600, 1400), studio.between(2500, 6000))
        clap = clap * studio.between(0.3, 1)
        now, period = studio.between(0, 0.3), studio.between(0.19, 0.32)
        while now < studio.seconds:
            put(wave, clap * studio.between(0.6, 1), now, studio.rate)
            now += period * studio.between(0.9, 1.1)
    if large:
        return wave, ("a large crowd applauding", "loud applause", "an audience clapping", "applause in a theatre")
    return wave, ("a few people clapping", "light applause", "a small group clapping")
