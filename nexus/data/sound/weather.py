"""Weather, water and fire. Each function returns the wave and captions that are true of it."""

import numpy as np
from scipy import signal

from nexus.data.sound.primitives import Studio, Wave, band, burst, coloured, hump, modes, put, wander

Sound = tuple[Wave, tuple[str, ...]]


def drops(studio: Studio, per_second: float | int, low: float | int, high: float | int, decay: float | int) -> Wave:
    """Many short decaying noises at random times and strengths."""
    impulses = np.zeros(studio.length)
    count = studio.rng.poisson(per_second * studio.seconds)
    impulses[studio.rng.integers(0, studio.length, count)] = studio.rng.lognormal(0, 0.7, count)
    grain = burst(studio, 6 * decay, decay, low, high)
    return np.asarray(signal.fftconvolve(impulses, grain))[: studio.length]


def rain(studio: Studio) -> Sound:
    heavy = studio.rng.random() < 0.5
    hiss = band(coloured(studio, 0.6), 400, 11000, studio.rate) * (0.85 + 0.15 * wander(studio, 1))
    patter = drops(studio, 900 if heavy else 120, 1500, 9000, 0.004)
    wave = (1.0 if heavy else 0.35) * hiss + 0.5 * patter / (np.abs(patter).max() + 1e-9) * (2 if heavy else 4)
    if heavy:
        return wave, ("heavy rain", "pouring rain", "a downpour", "heavy rain falling")
    return wave, ("light rain", "gentle rain", "soft rain falling", "a drizzle of rain")


def tin_roof_rain(studio: Studio) -> Sound:
    heavy = studio.rng.random() < 0.5
    metal = studio.shorter(0.12)
    frequencies = [float(f) for f in studio.rng.uniform(900, 5000, 6)]
    plates = [modes(metal, frequencies, [studio.between(0.008, 0.03)] * 6, [1.0] * 6) for _ in range(5)]
    wave = 0.1 * band(coloured(studio, 0.8), 600, 8000, studio.rate) * (1 if heavy else 0.4)
    for _ in range(studio.rng.poisson((160 if heavy else 40) * studio.seconds)):
        plate = plates[studio.rng.integers(5)]
        put(wave, plate * studio.rng.lognormal(-1.6, 0.6), studio.between(0, studio.seconds), studio.rate)
    word = "heavy rain" if heavy else "light rain"
    return wave, (f"{word} on a tin roof", f"{word} drumming on a metal roof", "rain on a tin roof")


def wind(studio: Studio) -> Sound:
    strong = studio.rng.random() < 0.5
    gusts = wander(studio, 0.6)
    wave = band(coloured(studio, 1.6), 60, 900, studio.rate) * (0.3 + gusts)
    for centre in studio.rng.uniform(300, 1100, 3 if strong else 1):
        whistle = band(coloured(studio, 0), centre, centre * 1.12, studio.rate)
        wave += (2.5 if strong else 0.3) * whistle * wander(studio, 0.8) ** 2
    if strong:
        return wave, ("strong wind howling", "howling wind", "a windstorm", "gusts of strong wind")
    return wave, ("a gentle breeze", "soft wind blowing", "light wind", "wind in the open")


def sea(studio: Studio) -> Sound:
    big = studio.rng.random() < 0.5
    wave = 0.25 * band(coloured(studio, 1.5), 40, 700, studio.rate)
    start = studio.between(-1.5, 0.3)
    while start < studio.seconds:
        span = studio.shorter(studio.between(2.5, 4.0))
        foam = band(coloured(span, 0.9), 200 if big else 500, 8000, studio.rate)
        crash = band(coloured(span, 1.6), 40, 500, studio.rate)
        swell = hump(span.length, studio.between(0.3, 0.5))
        event = swell * foam + (1.2 if big else 0.3) * swell**2 * crash
        skip = max(round(-start * studio.rate), 0)
        put(wave, event[skip:], max(start, 0), studio.rate)
        start += studio.between(1.8, 2.8)
    if big:
        return wave, ("big waves crashing on the shore", "surf breaking on rocks", "rough sea waves", "crashing waves")
    return wave, ("gentle sea waves", "small waves lapping on a beach", "calm sea waves", "waves on the shore")


def thunder(studio: Studio) -> Sound:
    near = studio.rng.random() < 0.5
    wave = 0.02 * band(coloured(studio, 1), 200, 5000, studio.rate)
    start = studio.between(0.1, 0.5)
    if near:
        put(wave, 3.0 * burst(studio, 0.6, 0.09, 200, 9000), start, studio.rate)
    tail = studio.shorter(studio.seconds - start)
    rumble = band(coloured(tail, 1.8), 25, 160 if not near else 260, studio.rate)
    shape = np.exp(-tail.time / studio.between(0.9, 1.6)) * (0.35 + wander(tail, 6)) * np.minimum(tail.time / 0.08, 1)
    put(wave, 2.2 * rumble * shape, start, studio.rate)
    if near:
        return wave, ("a loud thunderclap", "thunder cracks close by", "a crack of thunder")
    return wave, ("distant thunder", "thunder rumbling far away", "a low rumble of thunder")


def stream(studio: Studio) -> Sound:
    wave = 0.35 * band(coloured(studio, 0.9), 300, 5000, studio.rate) * (0.7 + 0.3 * wander(studio, 2))
    for _ in range(round(studio.between(50, 110) * studio.seconds)):
        bubble = studio.shorter(studio.between(0.015, 0.06))
        frequency = studio.between(400, 2200) * (1 + studio.between(0.1, 0.5) * bubble.time / bubble.seconds)
        ping = np.sin(2 * np.pi * np.cumsum(frequency) / studio.rate) * hump(bubble.length, 0.2)
        put(wave, ping * studio.rng.lognormal(-1.3, 0.5), studio.between(0, studio.seconds), studio.rate)
    return wave, ("a babbling stream", "a small brook flowing", "water running in a stream", "a bubbling creek")


def fire(studio: Studio) -> Sound:
    large = studio.rng.random() < 0.5
    wave = (
        (0.5 if large else 0.15) * band(coloured(studio, 1.6), 40, 600, studio.rate) * (0.6 + 0.4 * wander(studio, 3))
    )
    for _ in range(studio.rng.poisson((28 if large else 12) * studio.seconds)):
        crack = burst(studio, 0.03, studio.between(0.001, 0.006), studio.between(800, 3000), 10000)
        put(wave, crack * studio.rng.lognormal(-0.2, 0.8), studio.between(0, studio.seconds), studio.rate)
    if large:
        return wave, ("a roaring fire", "a large fire burning and crackling", "a bonfire crackling")
    return wave, ("a fire crackling", "a small camp fire crackles", "a fireplace crackling softly")


def bubbles(studio: Studio) -> Sound:
    wave = 0.03 * band(coloured(studio, 1.2), 80, 1200, studio.rate)
    for _ in range(round(studio.between(8, 22) * studio.seconds)):
        bubble = studio.shorter(studio.between(0.04, 0.12))
        frequency = studio.between(250, 900) * (1 + 0.8 * (bubble.time / bubble.seconds) ** 2)
        plop = np.sin(2 * np.pi * np.cumsum(frequency) / studio.rate) * hump(bubble.length, 0.15)
        put(wave, plop * studio.between(0.3, 1), studio.between(0, studio.seconds), studio.rate)
    return wave, ("bubbles rising in water", "water bubbling", "bubbles under water")
