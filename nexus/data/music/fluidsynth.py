"""General MIDI instruments through the FluidSynth library (LGPL, loaded with ctypes) and a sound font on disk.

A new synthesiser for every piece makes rendering a pure function; one kept alive holds the font's samples in memory,
so that a piece costs its notes and not the loading of 140 MB.
"""

import ctypes
import ctypes.util
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32

FONTS = (
    "sf2/FluidR3_GM.sf2",
    "sf3/FluidR3_GM.sf3",
    "sf2/default-GM.sf2",
    "sf3/MuseScore_General.sf3",
    "sf3/default-GM.sf3",
    "sf2/TimGM6mb.sf2",
)
FOLDERS = (Path("/usr/share/sounds"), Path("/usr/local/share/sounds"), Path("/usr/share/soundfonts"))
ADVICE = "on Debian or Ubuntu: apt-get install libfluidsynth3 fluid-soundfont-gm"
NOTE_ON, NOTE_OFF, CONTROL, PROGRAM = range(4)
Event = tuple[int, int, int, int, int]  # (sample, NOTE_OFF or another, channel, key or controller or program, value)


def find_font() -> Path:
    """The first General MIDI font found; FluidR3 is preferred (MIT, and it loads fast).

    Raises:
        FileNotFoundError: none, with the packages that bring one.
    """
    for name in FONTS:
        for folder in FOLDERS:
            if (folder / name).is_file():
                return folder / name
    raise FileNotFoundError(f"no General MIDI sound font in {', '.join(map(str, FOLDERS))}; {ADVICE}")


@cache
def library() -> ctypes.CDLL:
    """The shared library with the signatures used here.

    Raises:
        ImportError: it is not installed, with the packages that bring it.
    """
    name = ctypes.util.find_library("fluidsynth") or "libfluidsynth.so.3"
    try:
        lib = ctypes.CDLL(name)
    except OSError as error:
        raise ImportError(f"music is rendered by FluidSynth, which is not installed; {ADVICE}") from error
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    signatures = {
        "new_fluid_settings": (pointer, []),
        "delete_fluid_settings": (None, [pointer]),
        "fluid_settings_setnum": (integer, [pointer, ctypes.c_char_p, ctypes.c_double]),
        "fluid_settings_setint": (integer, [pointer, ctypes.c_char_p, integer]),
        "new_fluid_synth": (pointer, [pointer]),
        "delete_fluid_synth": (None, [pointer]),
        "fluid_synth_sfload": (integer, [pointer, ctypes.c_char_p, integer]),
        "fluid_synth_noteon": (integer, [pointer, integer, integer, integer]),
        "fluid_synth_noteoff": (integer, [pointer, integer, integer]),
        "fluid_synth_cc": (integer, [pointer, integer, integer, integer]),
        "fluid_synth_program_change": (integer, [pointer, integer, integer]),
        "fluid_synth_write_float": (integer, [pointer, integer, pointer, integer, integer, pointer, integer, integer]),
    }
    for function, (result, arguments) in signatures.items():
        getattr(lib, function).restype = result
        getattr(lib, function).argtypes = arguments
    return lib


class Synthesiser:
    """A FluidSynth with one font loaded, at `rate` samples a second."""

    def __init__(self, rate: int, font: Path):
        self.lib = library()
        self.settings = self.lib.new_fluid_settings()
        self.lib.fluid_settings_setnum(self.settings, b"synth.sample-rate", float(rate))
        self.lib.fluid_settings_setnum(self.settings, b"synth.gain", 0.5)
        self.lib.fluid_settings_setint(self.settings, b"synth.dynamic-sample-loading", 1)
        self.synth = self.lib.new_fluid_synth(self.settings)
        if self.lib.fluid_synth_sfload(self.synth, str(font).encode(), 1) < 0:
            self.close()
            raise ValueError(f"{font} is not a sound font that FluidSynth can read")

    def close(self) -> None:
        self.lib.delete_fluid_synth(self.synth)
        self.lib.delete_fluid_settings(self.settings)

    def play(self, events: list[Event], length: int) -> Float32[np.ndarray, "2 L"]:
        """Plays events in time order and returns `length` stereo samples."""
        samples = np.zeros((2, length), np.float32)
        position = 0
        for time, kind, channel, number, value in events:
            if time >= length:
                break
            position = self._write(samples, position, time)
            if kind == NOTE_ON:
                self.lib.fluid_synth_noteon(self.synth, channel, number, value)
            elif kind == NOTE_OFF:
                self.lib.fluid_synth_noteoff(self.synth, channel, number)
            elif kind == CONTROL:
                self.lib.fluid_synth_cc(self.synth, channel, number, value)
            else:
                self.lib.fluid_synth_program_change(self.synth, channel, number)
        self._write(samples, position, length)
        return samples

    def _write(self, samples: Float32[np.ndarray, "2 L"], start: int, end: int) -> int:
        if end > start:
            left, right = samples[0].ctypes.data, samples[1].ctypes.data
            self.lib.fluid_synth_write_float(self.synth, end - start, left, start, 1, right, start, 1)
        return end


@cache
def keep_loaded(font: Path) -> Synthesiser:
    """A synthesiser that is never played: while it lives, the font's file stays parsed and cached."""
    return Synthesiser(48000, font)
