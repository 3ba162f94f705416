"""Engines, vehicles, signals and machines."""

import numpy as np

from nexus.data.sound.primitives import Studio, band, burst, coloured, harmonics, hump, modes, put, sweep, wander
from nexus.data.sound.weather import Sound

ENGINE = (1.0, 0.8, 0.7, 0.5, 0.4, 0.35, 0.25, 0.2, 0.15, 0.12, 0.1, 0.08)


def engine(studio: Studio) -> Sound:
    revving = studio.rng.random() < 0.5
    base = studio.between(28, 48)
    drift = 1 + 0.03 * wander(studio, 3)
    if revving:
        drift = drift * (1 + studio.between(0.8, 1.6) * hump(studio.length, studio.between(0.3, 0.6)))
    wave = np.tanh(1.8 * harmonics(base * drift, ENGINE, studio.rate))
    wave += 0.25 * band(coloured(studio, 1), 80, 2500, studio.rate) * (0.5 + 0.5 * sweep(base * drift, studio.rate))
    if revving:
        return wave, ("an engine revving up", "a motor revs", "a car engine revving")
    return wave, ("an engine idling", "a motor running steadily", "a truck engine idling")


def car(studio: Studio) -> Sound:
    position = np.linspace(-1, 1, studio.length) * studio.between(2.5, 5) + studio.between(-0.5, 0.5)
    near = 1 / (1 + position**2)
    doppler = 1 - 0.09 * position / np.sqrt(1 + position**2)
    motor = harmonics(studio.between(55, 95) * doppler, ENGINE[:8], studio.rate)
    tyres = band(coloured(studio, 0.9), 150, 3500, studio.rate)
    wave = (0.5 * motor + 1.2 * tyres) * near
    return wave, ("a car passing by", "a car drives past", "a vehicle passing on the road")


def helicopter(studio: Studio) -> Sound:
    beats = studio.between(10, 16)
    phase = (studio.time * beats) % 1
    blades = np.exp(-phase * 5) * band(coloured(studio, 1.2), 40, 900, studio.rate)
    turbine = 0.05 * sweep(np.full(studio.length, studio.between(900, 1600)), studio.rate)
    wave = blades + turbine + 0.1 * band(coloured(studio, 1), 200, 4000, studio.rate)
    if studio.rng.random() < 0.5:
        return wave * np.linspace(0.15, 1, studio.length), ("a helicopter coming closer", "a helicopter approaching")
    return wave, ("a helicopter hovering", "helicopter blades turning", "a helicopter")


def siren(studio: Studio) -> Sound:
    fast = studio.rng.random() < 0.5
    low, high = studio.between(500, 650), studio.between(1000, 1400)
    if fast:
        two_tone = np.where((studio.time * studio.between(1.0, 1.6)) % 1 < 0.5, low, low * 4 / 3)
        wave = harmonics(two_tone, (1, 0, 0.5, 0, 0.3, 0, 0.15), studio.rate)
        return wave, ("a two-tone siren", "an ambulance siren of two tones", "an emergency siren")
    curve = 0.5 - 0.5 * np.cos(2 * np.pi * studio.time / studio.between(2.5, 4.5))
    wave = harmonics(low + (high - low) * curve, (1, 0.5, 0.35, 0.2), studio.rate)
    return wave, ("a siren wailing", "a police siren rising and falling", "a wailing emergency siren")


def alarm(studio: Studio) -> Sound:
    pitch, rate = studio.between(900, 2600), studio.between(2, 5)
    gate = ((studio.time * rate) % 1 < 0.5).astype(float)
    gate = np.convolve(gate, np.ones(60) / 60, "same")
    wave = harmonics(np.full(studio.length, pitch), (1, 0, 0.3), studio.rate) * gate
    return wave, ("an alarm beeping", "a beeping alarm clock", "an electronic alarm", "fast beeps of an alarm")


def foghorn(studio: Studio) -> Sound:
    pitch = studio.between(85, 150)
    wave = 0.02 * band(coloured(studio, 1.4), 50, 900, studio.rate)
    blast = studio.shorter(min(studio.between(1.6, 2.8), studio.seconds - 0.5))
    tone = np.tanh(2 * harmonics(np.full(blast.length, pitch), (1, 0.7, 0.5, 0.4, 0.3, 0.2), studio.rate))
    shape = np.minimum(1, np.minimum(blast.time / 0.15, (blast.seconds - blast.time) / 0.3))
    put(wave, tone * shape, studio.between(0.1, 0.4), studio.rate)
    return wave, ("a foghorn", "a ship's horn", "a low foghorn blast", "a ship sounding its horn")


def laser(studio: Studio) -> Sound:
    shots = int(studio.rng.integers(1, 7))
    wave = np.zeros(studio.length)
    for i in range(shots):
        shot = studio.shorter(studio.between(0.15, 0.4))
        curve = 200 + studio.between(1500, 4000) * np.exp(-shot.time * studio.between(8, 16))
        blip = harmonics(curve, (1, 0.5, 0.3), studio.rate) * np.exp(-shot.time * 7)
        put(wave, blip, 0.1 + i * (studio.seconds - 0.5) / shots, studio.rate)
    if shots == 1:
        return wave, ("a laser shot", "a single laser blast", "a sci-fi laser fires once")
    return wave, ("laser shots", "sci-fi lasers firing", "a laser gun firing")


def clock(studio: Studio) -> Sound:
    rate = studio.pick("slow", "steady", "fast")
    period = {"slow": 1.0, "steady": 0.5, "fast": 0.22}[rate]
    wave = np.zeros(studio.length)
    pitches = studio.between(2200, 3600), studio.between(1500, 2100)
    for i in range(int(studio.seconds / period) + 1):
        tick = studio.shorter(0.06)
        pitch = pitches[i % 2]
        event = modes(tick, [pitch, pitch * 1.53, pitch * 2.7], [0.008, 0.005, 0.003], [1, 0.7, 0.5])
        put(wave, event * studio.between(0.9, 1), 0.05 + i * period, studio.rate)
    kind = {"slow": "a grandfather clock ticking slowly", "steady": "a clock ticking", "fast": "a watch ticking fast"}
    return wave, (kind[rate], f"{rate} ticking of a clock")


def typewriter(studio: Studio) -> Sound:
    wave = np.zeros(studio.length)
    now = studio.between(0.05, 0.2)
    while now < studio.seconds - 0.1:
        key = burst(studio, 0.08, 0.006, 1200, 9000) + 0.6 * burst(studio, 0.08, 0.02, 150, 900)
        put(wave, key * studio.between(0.6, 1), now, studio.rate)
        now += studio.between(0.08, 0.25) if studio.rng.random() < 0.9 else studio.between(0.35, 0.6)
    return wave, ("a typewriter", "typing on a typewriter", "typewriter keys clacking")


def phone(studio: Studio) -> Sound:
    low = studio.between(700, 1200)
    gate = (np.sin(2 * np.pi * 20 * studio.time) > 0) * ((studio.time % 2.0) < 1.1)
    tone = modes(
        studio.shorter(0.25), [low, low * 1.26, low * 2.51, low * 3.2], [0.12, 0.1, 0.06, 0.05], [1, 1, 0.6, 0.4]
    )
    wave = np.zeros(studio.length)
    strikes = np.flatnonzero(np.diff(gate.astype(int)) == 1) / studio.rate
    for start in strikes:
        put(wave, tone, float(start), studio.rate)
    return wave, ("an old telephone ringing", "a phone rings", "a telephone bell ringing")


def train(studio: Studio) -> Sound:
    gap = studio.between(0.5, 0.9)
    wave = 0.35 * band(coloured(studio, 1.5), 50, 900, studio.rate)
    now = studio.between(0, 0.3)
    while now < studio.seconds:
        for offset in (0, 0.13):
            clack = burst(studio, 0.12, 0.02, 180, 2500)
            put(wave, 3 * clack * studio.between(0.8, 1), now + offset, studio.rate)
        now += gap
    return wave, ("a train rolling over the tracks", "a train clattering along", "train wheels on the rails")
