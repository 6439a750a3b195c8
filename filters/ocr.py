"""Where text is, and what it says: the only file that touches an OCR engine.

The default engine is RapidOCR, whose wheel holds small PP-OCR models for Chinese, English and
Japanese, so it works offline. PaddleOCR, the engine of OmniDoc-TokenBench, reads with model
folders that the user brings. Engines are imported when the first object is built.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from shards import RGB, UserError
from shards.embedded import package

Quadrilateral = NDArray[np.float32]
"""Corners of a line of text, (4, 2) as x, y in px: clockwise, from where the text starts."""

LIMIT_SIDE = 480
"""Images whose shorter side is below this many px are enlarged to it before detection.

Measured on pages of 256 px: as accurate as the engine's 736 (8 px lines read at NED .97 English,
.998 Chinese) at a quarter of the time.
"""


MAX_ASPECT = 8
"""Sides of a page are to each other as this at most, else it is given a margin (our choice).

Enlarged to LIMIT_SIDE, a page then has 480 x 3840 px, no more than an ordinary one of 1536 x 1536;
one of 1 x 400 px would have 480 x 192,000."""


class Reader(Protocol):
    """An OCR engine."""

    def read(self, pixels: RGB) -> str:
        """Return the lines in reading order, joined by newlines, as the engine yields them."""
        ...


class Detector:
    """Find lines of text without reading them."""

    def __init__(self, *, limit_side: int = LIMIT_SIDE, threads: int = 1) -> None:
        """Build the engine; `threads` are those of one call.

        Raises:
            UserError: when RapidOCR is not installed, or its models are not those we know.
        """
        self._engine = _rapidocr(limit_side, threads, {"Global.use_rec": False})

    def boxes(self, pixels: RGB) -> list[Quadrilateral]:
        """Return the lines of (h, w, 3) uint8 sRGB, from top to bottom."""
        boxes = self._engine(_page(pixels)).boxes
        return [] if boxes is None else [np.asarray(box, np.float32) for box in boxes]


class Recognizer:
    """Read a page, or lines that are already cut out."""

    def __init__(self, *, limit_side: int = LIMIT_SIDE, threads: int = 1) -> None:
        """Build the engine; `threads` are those of one call.

        Raises:
            UserError: when RapidOCR is not installed, or its models are not those we know.
        """
        self._page = _rapidocr(limit_side, threads, {})
        # Flags given to a call stick to a RapidOCR object, hence a second one for bare lines.
        self._line = _rapidocr(limit_side, threads, {"Global.use_det": False})

    def read(self, pixels: RGB) -> str:
        """Return the lines of (h, w, 3) uint8 sRGB in reading order, joined by newlines.

        Raw, as OmniDoc-TokenBench compares them: nothing is stripped, no weak line is left out.
        """
        return "\n".join(self._page(_page(pixels)).txts or ())

    def read_line(self, pixels: RGB) -> str:
        """Read an upright picture of a single line."""
        return "".join(self._line(_bgr(pixels)).txts or ())


class PaddleReader:
    """PaddleOCR (3.3 or newer) on onnxruntime, with model folders that the user brings.

    The folders are named after their models, e.g. `PP-OCRv6_small_det`, and hold
    `inference.onnx` and `inference.yml`. The default limit of 64 px is PaddleOCR's own, with
    which published scores were made; 736 reads dense pages far better.
    """

    def __init__(
        self, detector: Path, recognizer: Path, *, limit_side: int = 64, threads: int = 1
    ) -> None:
        """Build the engine.

        Raises:
            UserError: when PaddleOCR is not installed or a folder is missing.
        """
        for folder in (detector, recognizer):
            if not folder.is_dir():
                raise UserError(f"PaddleOCR model {folder} is not a folder; give one that exists")
        self._engine = _module("paddleocr", "paddleocr").PaddleOCR(
            engine="onnxruntime",
            engine_config={"intra_op_num_threads": threads, "inter_op_num_threads": threads},
            device="cpu",
            text_detection_model_name=detector.name,
            text_detection_model_dir=str(detector),
            text_recognition_model_name=recognizer.name,
            text_recognition_model_dir=str(recognizer),
            text_det_limit_side_len=limit_side,
            text_det_limit_type="min",
            use_doc_orientation_classify=False,
            use_doc_unwarping=False,
            use_textline_orientation=False,
        )

    def read(self, pixels: RGB) -> str:
        """Return the lines of (h, w, 3) uint8 sRGB in reading order, joined by newlines."""
        lines: Sequence[str] = self._engine.predict(np.array(_with_margin(pixels)))[0]["rec_texts"]
        return "\n".join(lines)


def cut_line(pixels: RGB, box: Quadrilateral, *, aspect: float) -> RGB:
    """Cut a line, turned level, out of (h, w, 3) uint8: its first `aspect` heights at most."""
    width, height = (max(1.0, side) for side in box_size(box))
    part = min(1.0, aspect * height / width)
    start, top_end, bottom_end, below = box
    source = np.stack(
        [start, start + part * (top_end - start), below + part * (bottom_end - below), below]
    )
    w, h = max(1, round(part * width)), max(1, round(height))
    target = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    # Only what is near the line, since OpenCV warps nothing wider than 32,767 px.
    low = np.clip(source.min(0).astype(int) - 2, 0, np.array(pixels.shape[1::-1]) - 1)
    high = np.maximum(source.max(0).astype(int) + 3, low + 1)
    near = pixels[low[1] : high[1], low[0] : high[0]]
    matrix = cv2.getPerspectiveTransform((source - low).astype(np.float32), target)
    line = cv2.warpPerspective(near, matrix, (w, h), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(line, np.uint8)


def box_size(box: Quadrilateral) -> tuple[float, float]:
    """Return (width, height) in px, along its upper and its left side."""
    return float(np.hypot(*(box[1] - box[0]))), float(np.hypot(*(box[3] - box[0])))


def _rapidocr(limit_side: int, threads: int, params: Mapping[str, Any]) -> Any:
    _module("onnxruntime", "ocr")
    package("rapidocr").paths()  # compared with the table; the engine reads them itself
    return _module("rapidocr", "ocr").RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.text_score": 0.0,
            "Global.log_level": "critical",
            "Det.limit_side_len": limit_side,
            "Det.limit_type": "min",
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            **params,
        }
    )


def _module(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"reading text needs {name}, which is not installed; run pip install nonpareil[{extra}]"
        ) from error


def _page(pixels: RGB) -> NDArray[np.uint8]:
    return _bgr(_with_margin(pixels))


def _with_margin(pixels: RGB) -> RGB:
    """Return a page of at most MAX_ASPECT, with a margin of its mean colour below or to the right.

    The page itself where it is no more oblong than that.
    """
    height, width = pixels.shape[:2]
    page = (max(height, -(-width // MAX_ASPECT)), max(width, -(-height // MAX_ASPECT)), 3)
    if page == pixels.shape:
        return pixels
    filled = np.empty(page, np.uint8)
    filled[:] = np.rint(pixels.mean((0, 1)))
    filled[:height, :width] = pixels
    return filled


def _bgr(pixels: RGB) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels[..., ::-1])
