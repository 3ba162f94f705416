"""Takes the time and the dice out of encoded sound, so that equal samples are equal bytes; libsndfile and FFmpeg write
them and offer no switch.
"""

import struct
import zlib

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def clear_time(wav: memoryview) -> None:
    """Zeroes, in place, when libsndfile measured the peaks of a float WAV: bytes 4 to 8 of its PEAK chunk."""
    at = 12
    while at + 8 <= len(wav):
        name, length = struct.unpack_from("<4sI", wav, at)
        if name == b"PEAK":
            wav[at + 12 : at + 16] = bytes(4)
        if name == b"data":
            return
        at += 8 + length + length % 2


def clear_serial(ogg: memoryview) -> None:
    """Zeroes, in place, the number drawn for an Ogg stream, and corrects each page's checksum (RFC 3533, section 6)."""
    at = 0
    while at < len(ogg):
        body = at + 27 + ogg[at + 26]
        end = body + sum(ogg[at + 27 : body])
        ogg[at + 14 : at + 18] = ogg[at + 22 : at + 26] = bytes(4)  # serial number; checksum, which counts as zero
        ogg[at + 22 : at + 26] = _ogg_checksum(ogg[at:end]).to_bytes(4, "little")
        at = end


def _ogg_checksum(page: memoryview) -> int:
    """zlib's polynomial with the bits of every byte, and of the result, the other way round; it begins with 0."""
    mirrored = zlib.crc32(bytes(page).translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
