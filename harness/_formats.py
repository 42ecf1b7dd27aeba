"""What the first bytes of a file say it is, and how many bytes the file says it has.

Decoders are lenient: libsndfile reads half a WAV without a word, FFmpeg half a Matroska file. The containers themselves
state their length, so a file cut short is found here, before it is decoded.
Sources: RIFF (Multimedia Programming Interface 1.0), AIFF 1.3, RFC 3533 (Ogg pages), ISO/IEC 14496-12 (boxes),
RFC 8794 and 9559 (EBML, Matroska), RFC 9639 (FLAC), the PNG, GIF89a, TIFF 6.0, BMP and AVIF specifications.
"""

from __future__ import annotations

from harness.nouns import Modality

Kind = tuple[Modality, str]

BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", ("image", ".png")),
    (b"\xff\xd8\xff", ("image", ".jpg")),
    (b"GIF87a", ("image", ".gif")),
    (b"GIF89a", ("image", ".gif")),
    (b"II*\0", ("image", ".tiff")),
    (b"MM\0*", ("image", ".tiff")),
    (b"fLaC", ("audio", ".flac")),
    (b"OggS", ("audio", ".ogg")),
    (b"ID3", ("audio", ".mp3")),
)
# Four bytes, the length of what follows, four bytes.
CHUNKED: dict[tuple[bytes, bytes], Kind] = {
    (b"RIFF", b"WAVE"): ("audio", ".wav"),
    (b"RIFF", b"WEBP"): ("image", ".webp"),
    (b"RIFF", b"AVI "): ("video", ".avi"),
    (b"FORM", b"AIFF"): ("audio", ".aiff"),
    (b"FORM", b"AIFC"): ("audio", ".aiff"),
}
# Frame sync and layer III of MPEG 1, 2 and 2.5, with and without a checksum.
MP3_SYNC = {b"\xff\xfa", b"\xff\xfb", b"\xff\xf2", b"\xff\xf3", b"\xff\xe2", b"\xff\xe3"}
MATROSKA = b"\x1a\x45\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"
# A writer that cannot seek back leaves 0 or a number near 2^31 or 2^32 where the length should be.
UNKNOWN_LENGTH = 0x7FFFF000


def kind_of(data: bytes) -> Kind | None:
    """Modality and file suffix of encoded bytes; None for what no decoder here reads."""
    for beginning, kind in BEGINNINGS:
        if data.startswith(beginning):
            return kind
    if chunked := CHUNKED.get((data[:4], data[8:12])):
        return chunked
    if data[4:8] == b"ftyp":
        return _branded(data)
    if data.startswith(MATROSKA):
        return "video", ".webm" if b"webm" in data[:64] else ".mkv"
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return "image", ".bmp"
    return ("audio", ".mp3") if data[:2] in MP3_SYNC else None


def _branded(data: bytes) -> Kind | None:
    brands = data[8 : int.from_bytes(data[:4], "big")]
    if b"avif" in brands or b"avis" in brands:
        return "image", ".avif"
    if brands[:4] in (b"heic", b"heix", b"mif1", b"msf1"):
        return None
    if brands[:4] in (b"M4A ", b"M4B "):
        return "audio", ".m4a"
    return "video", ".mov" if brands[:4] == b"qt  " else ".mp4"


def declared_size(data: bytes) -> int:
    """Bytes that a file says it has: more than `len(data)` where it was cut short, 0 where it does not say."""
    if data[:4] in (b"RIFF", b"FORM"):
        return _chunked_size(data)
    if data[:4] == b"OggS":
        return _ogg_size(data)
    if data[4:8] == b"ftyp":
        return _boxes_size(data)
    return _matroska_size(data) if data.startswith(MATROSKA) else 0


def _chunked_size(data: bytes) -> int:
    size = int.from_bytes(data[4:8], "little" if data[:1] == b"R" else "big")
    # Minus the pad byte of a last chunk of odd length, which many writers count and do not write.
    return size + 8 - 1 if 0 < size < UNKNOWN_LENGTH else 0


def _ogg_size(data: bytes) -> int:
    page = data.rfind(b"OggS")
    header, last_of_stream = data[page : page + 27], 4
    if len(header) < 27 or not header[5] & last_of_stream:
        return len(data) + 1
    segments = data[page + 27 : page + 27 + header[26]]
    return page + 27 + header[26] + sum(segments)


def _boxes_size(data: bytes) -> int:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: the last box reaches to the end of the file
            return 0
        at += size
    return at


def _matroska_size(data: bytes) -> int:
    at = data.find(SEGMENT) + len(SEGMENT)
    if at < len(SEGMENT) or at >= len(data) or not data[at]:
        return 0
    length = 9 - data[at].bit_length()
    ones = (1 << 7 * length) - 1
    size = int.from_bytes(data[at : at + length], "big") & ones
    return 0 if size == ones else at + length + size
