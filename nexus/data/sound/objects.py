"""Struck, broken and moved things."""

import numpy as np

from nexus.data.sound.creatures import COUNTS
from nexus.data.sound.primitives import Studio, band, burst, coloured, echo, harmonics, hump, modes, put, wander
from nexus.data.sound.weather import Sound

# Partials of a church bell relative to its strike note: hum, prime, tierce, quint, nominal and above.
BELL = ([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.2], [2.6, 2.0, 1.5, 1.0, 1.1, 0.6, 0.4, 0.25])


def church_bell(studio: Studio) -> Sound:
    strikes = int(studio.rng.integers(1, 4))
    pitch = studio.between(180, 420)
    wave = np.zeros(studio.length)
    ratios, decays = BELL
    weights = [0.6, 1, 0.8, 0.4, 0.9, 0.4, 0.3, 0.25]
    stroke = modes(studio, [pitch * r * studio.between(0.995, 1.005) for r in ratios], decays, weights)
    for i in range(strikes):
        put(wave, stroke, 0.1 + i * (studio.seconds - 0.4) / 3, studio.rate)
    times = "once" if strikes == 1 else f"{COUNTS[strikes]} times"
    depth = "a deep church bell" if pitch < 280 else "a church bell"
    return wave, (f"a church bell strikes {times}", f"{depth} rings {times}", f"{depth} ringing")


def small_bell(studio: Studio) -> Sound:
    pitch = studio.between(1400, 3000)
    wave = np.zeros(studio.length)
    now, ring = 0.1, studio.shorter(1.2)
    stroke = modes(ring, [pitch, pitch * 2.4, pitch * 4.1], [0.4, 0.2, 0.1], [1, 0.5, 0.3])
    while now < studio.seconds - 0.2:
        put(wave, stroke * studio.between(0.5, 1), now, studio.rate)
        now += studio.between(0.12, 0.3)
    return wave, ("a small hand bell jingling", "a little bell ringing", "a hand bell rings")


def footsteps(studio: Studio) -> Sound:
    floor = studio.pick("wood", "gravel", "snow", "stone")
    pace = studio.pick("slow", "normal", "running")
    period = {"slow": 0.85, "normal": 0.55, "running": 0.3}[pace]
    wave = np.zeros(studio.length)
    now = 0.1
    while now < studio.seconds - 0.1:
        put(wave, step(studio, floor) * studio.between(0.75, 1), now, studio.rate)
        now += period * studio.between(0.95, 1.05)
    if pace == "running":
        return wave, (f"running footsteps on {floor}", f"someone running on {floor}")
    manner = "slow footsteps" if pace == "slow" else "footsteps"
    return wave, (f"{manner} on {floor}", f"someone walking on {floor}", f"{manner} of a person on {floor}")


def step(studio: Studio, floor: str) -> np.ndarray:
    length = studio.shorter(0.28)
    wave = np.zeros(length.length)
    if floor in ("wood", "stone"):
        low = 110 if floor == "wood" else 220
        body = modes(length, [low, low * 2.3, low * 4.1], [0.04, 0.025, 0.012], [1, 0.6, 0.3])
        click = burst(studio, 0.03, 0.004, 1200 if floor == "stone" else 600, 6000 if floor == "stone" else 2500)
        put(wave, body * (1 if floor == "wood" else 0.3), 0, studio.rate)
        put(wave, click * (0.5 if floor == "wood" else 1.2), 0, studio.rate)
        return wave
    low, high, grains = (700, 9000, 40) if floor == "gravel" else (300, 3000, 70)
    for _ in range(grains):
        grain = burst(studio, 0.02, 0.003, low, high)
        put(wave, grain * studio.rng.lognormal(-1.2, 0.5), studio.rng.beta(2, 3) * 0.2, studio.rate)
    return wave


def knock(studio: Studio) -> Sound:
    count = int(studio.rng.integers(2, 6))
    wave = np.zeros(studio.length)
    pitch, gap = studio.between(120, 220), studio.between(0.18, 0.4)
    for i in range(count):
        body = modes(studio.shorter(0.3), [pitch, pitch * 1.9, pitch * 3.3], [0.05, 0.03, 0.015], [1, 0.7, 0.4])
        put(wave, body + 0.0, 0.2 + i * gap, studio.rate)
        put(wave, 0.4 * burst(studio, 0.03, 0.004, 500, 4000), 0.2 + i * gap, studio.rate)
    wave = echo(wave, studio, 0.35, 0.15)
    return wave, (
        f"{COUNTS[count]} knocks on a door",
        "knocking on a wooden door",
        f"someone knocks {COUNTS[count]} times",
    )


def creak(studio: Studio) -> Sound:
    wave = np.zeros(studio.length)
    swing = studio.shorter(studio.between(1.2, 2.6))
    friction = studio.between(35, 70) * (0.6 + 1.2 * wander(swing, 2))
    clicks = np.maximum(harmonics(friction, (1, 0.8, 0.6, 0.5, 0.4, 0.3), studio.rate), 0) ** 2
    body = sum(band(clicks, f, f * 1.15, studio.rate) for f in studio.rng.uniform(400, 2600, 4))
    put(wave, body * hump(swing.length, 0.4), studio.between(0.1, 0.6), studio.rate)
    return wave, ("a door creaking", "a squeaky door opens", "an old door creaks slowly")


def whoosh(studio: Studio) -> Sound:
    count = int(studio.rng.integers(1, 4))
    wave = 0.003 * coloured(studio, 1)
    for i in range(count):
        pass_ = studio.shorter(studio.between(0.4, 0.9))
        noise = coloured(pass_, 0.7)
        shape = hump(pass_.length, studio.between(0.4, 0.7))
        low, high = band(noise, 150, 900, studio.rate), band(noise, 900, 5000, studio.rate)
        put(wave, low * shape + 0.9 * high * shape**3, 0.15 + i * (studio.seconds - 0.3) / 3, studio.rate)
    if count == 1:
        return wave, ("a whoosh", "something whooshes past", "a quick whoosh of air")
    return wave, ("whooshes", f"{COUNTS[count]} whooshes", f"something whooshes past {COUNTS[count]} times")


def glass(studio: Studio) -> Sound:
    wave = np.zeros(studio.length)
    start = studio.between(0.1, 0.4)
    put(wave, 1.5 * burst(studio, 0.15, 0.02, 1500, 11000), start, studio.rate)
    for _ in range(int(studio.rng.integers(30, 70))):
        shard = studio.shorter(0.4)
        pitch = studio.between(2200, 8500)
        tinkle = modes(shard, [pitch, pitch * 1.37], [studio.between(0.02, 0.09), 0.03], [1, 0.5])
        put(wave, tinkle * studio.rng.lognormal(-1.6, 0.6), start + studio.rng.exponential(0.35), studio.rate)
    return wave, ("glass breaking", "a window shatters", "a glass shattering on the floor")


def explosion(studio: Studio) -> Sound:
    wave = np.zeros(studio.length)
    start = studio.between(0.05, 0.3)
    tail = studio.shorter(studio.seconds - start)
    blast = band(coloured(tail, 1.5), 25, 900, studio.rate) * np.exp(-tail.time / studio.between(0.5, 0.9))
    put(wave, blast + 0.0, start, studio.rate)
    put(wave, 1.2 * burst(studio, 0.3, 0.05, 80, 7000), start, studio.rate)
    return np.tanh(1.5 * wave), ("an explosion", "a big explosion", "a loud explosion with rumble")


def coins(studio: Studio) -> Sound:
    wave = np.zeros(studio.length)
    for _ in range(int(studio.rng.integers(5, 14))):
        pitch = studio.between(3500, 6500)
        coin = modes(studio.shorter(0.4), [pitch, pitch * 1.58], [0.07, 0.05], [1, 0.7])
        now, gap = studio.between(0.05, studio.seconds - 0.7), 0.16
        for bounce in range(4):
            put(wave, coin * 0.6**bounce, now, studio.rate)
            now, gap = now + gap, gap * 0.6
    return wave, ("coins dropping", "coins falling on a table", "jingling coins")
