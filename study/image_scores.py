"""The score of each test image under one trained model: a confirm run's ``image_scores.parquet``.

An interval over seeds and test images needs the scores of single images; see
``docs/statistics.md``. A file holds one column, ``nats``, a row per image in the order of the test
split; the rest is in the schema's metadata.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from math import log, log2
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.metrics import BITS_PER_DIM, CALIBRATED_NEGATIVE_ELBO
from vae_core.errors import DataError

ARTIFACT, FILE = "image_scores", "image_scores.parquet"
"""What it is called among a trial's artifacts, and in the trial's folder."""

OBJECTIVES = (CALIBRATED_NEGATIVE_ELBO.name, BITS_PER_DIM.name)
"""By which a single image has a score; a distance is of all images together."""

STEP = 1 / 64
"""Scores are rounded to multiples of this many nats (and to float32, which is coarser from 262,144
nats on). It adds STEP^2/12 = 2e-5 to the variance of an image's score, where a draw of the latents
alone brings about 1."""

FORMAT = 1
_COLUMN, _KEY = "nats", b"image_scores"
_REMEDY = "restore the file from a copy; without it, intervals are over seeds alone"


@dataclass(frozen=True)
class ImageScores:
    """What one model scores on each test image, lower is better."""

    values: NDArray[np.float64]
    """[N]: calibrated negative ELBO of each image in nats, the mean over K draws of latent
    noise"""
    draws: NDArray[np.float64]
    """[K]: the mean over images of each draw, not rounded"""

    def by(self, objective: str, dims: float) -> ImageScores:
        """In the unit of ``objective``, one of :data:`OBJECTIVES`, of images of D ``dims``."""
        if objective == CALIBRATED_NEGATIVE_ELBO.name:
            return self
        # As vae_core.likelihoods.bits_per_dim.
        scale, shift = 1 / (dims * log(2)), log2(256)
        return ImageScores(self.values * scale + shift, self.draws * scale + shift)

    def to_bytes(self) -> bytes:
        """A Parquet file, about 2 bytes an image. Equal scores give equal bytes."""
        about = {"format": FORMAT, "split": "test", "unit": "nats", "draws": self.draws.tolist()}
        rounded = np.round(np.asarray(self.values, np.float64) / STEP) * STEP
        with np.errstate(over="ignore"):  # beyond float32 is inf, as in the model itself
            scores = rounded.astype(np.float32)
        # Its buffer as it is: pyarrow's own conversion loads pandas, a second in every engine.
        column = pa.Array.from_buffers(pa.float32(), len(scores), [None, pa.py_buffer(scores)])
        schema = pa.schema([(_COLUMN, pa.float32())], {_KEY: json.dumps(about)})
        out = io.BytesIO()
        pq.write_table(
            pa.table([column], schema=schema),
            out,
            compression="zstd",
            compression_level=19,
            use_dictionary=False,
            column_encoding={_COLUMN: "BYTE_STREAM_SPLIT"},
        )
        return out.getvalue()

    @classmethod
    def read(cls, path: Path) -> ImageScores:
        """The scores in a file that :meth:`to_bytes` made; ``values`` are rounded to ``STEP``.

        Raises:
            DataError: it is missing, damaged, or no such file.
        """
        try:
            table = pq.read_table(path, memory_map=False)
            about = json.loads((table.schema.metadata or {})[_KEY])
            version = about["format"]
            if version == FORMAT:
                values = table[_COLUMN].to_numpy().astype(np.float64)
                return cls(values, np.array(about["draws"], np.float64))
        except FileNotFoundError as error:
            raise DataError("is not there", where=str(path), remedy=_REMEDY) from error
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            what = "holds no image scores that can be read"
            raise DataError(what, where=str(path), remedy=_REMEDY) from error
        raise DataError(
            f"image scores of format {version!r}; this version reads {FORMAT}",
            where=str(path),
            remedy="use the version of the package that wrote them, or a newer one",
        )
