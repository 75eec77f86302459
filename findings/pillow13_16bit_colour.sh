#!/usr/bin/env bash
# Pillow 13.0.0: images of 16 bits a channel open as 8-bit RGB or RGBA.
#
# Expected: 16-bit colour has a mode of its own, as 16-bit grey has (I;16), or is refused; at the
# least grey with alpha stays grey (LA). Seen: a 16-bit RGB PNG or PPM opens with mode RGB and its
# low bytes gone, 16-bit grey with alpha as RGBA, all without a warning. Nothing public tells:
# `mode` and `getbands` are those of 8-bit files; only the decoder's layout in `Image.tile` differs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pillow==13.0.0 2>/dev/null
"$work/venv/bin/python" -W error - <<'PY'
import io
import struct
import zlib

import PIL
from PIL import Image


def png(colour_type, channels):
    """A PNG of 4 x 3 pixels, 16 bits a channel, each value 0x1234."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 4, 3, 16, colour_type, 0, 0, 0)
    rows = (b"\0" + b"\x12\x34" * channels * 4) * 3
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


files = {
    "grey PNG": png(0, 1),
    "RGB PNG": png(2, 3),
    "grey and alpha PNG": png(4, 2),
    "RGB PPM": b"P6 4 3 65535\n" + b"\x12\x34" * 3 * 12,
}
found = {}
for name, data in files.items():
    image = Image.open(io.BytesIO(data))
    found[name] = (image.mode, image.getpixel((0, 0)))
    print(f"Pillow {PIL.__version__}, 16-bit {name}: mode {image.mode}, 0x1234 is", found[name][1])
assert found["grey PNG"] == ("I;16", 0x1234)
assert found["RGB PNG"] == ("RGB", (0x12,) * 3)
assert found["grey and alpha PNG"] == ("RGBA", (0x12,) * 4)
assert found["RGB PPM"] == ("RGB", (0x12,) * 3)
PY
