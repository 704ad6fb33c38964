"""The statistics of a calibration: what visual tokens received at every layer of the unpruned model, and their file."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from fitprune_core.checks.files import check_output, check_plain_file, parse_json, written_whole
from fitprune_core.checks.words import cut, named, shown
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.recipes.token_groups import check_token_counts

SCHEMA = 1


# With the token count of every sample: a version that reads schema 1 alone must not take padding for tokens.
SCHEMA_WITH_COUNTS = 2


_ABOUT = ("schema", "model", "geometry")  # what the file says beside the provenance


ATTENTION_ARRAYS = ("self_attention", "cross_attention")


SHARES = ("self_share", "cross_share")


@dataclass(frozen=True, eq=False)
class AttentionStatistics:
    """Attention received by each visual token, head-wise maximum (arXiv 2409.10197), for a batch of samples.

    Attributes:
        self_attention: from the mean visual token, float32 (samples, layers, visual tokens).
        cross_attention: from the mean text token after the image, likewise.
        model: name of the checkpoint.
        geometry: sizes of its decoder.
        self_share: how much of all attention of the visual tokens goes to visual tokens, mean over queries and heads,
            float32 (samples, layers), or None where it is not known. The fit estimates from it how attention is spread
            anew when tokens are gone.
        cross_share: the same for the text after the image.
        provenance: where the figures come from, in words: the samples, what became of the pictures' aspect ratio, the
            versions of torch and transformers.
        token_counts: visual tokens of each sample, int64 (samples,); None for as many as the arrays hold. LLaVA-NeXT's
            pictures have different ones: what follows a sample's last token in the arrays is 0 and stands for nothing.

    Arrays are held as views that cannot be written to, since fits are kept for as long as the object lives. Two objects
    are equal if they are one. Raises ValueError naming the array, or the provenance, that cannot be.
    """

    self_attention: np.ndarray
    cross_attention: np.ndarray
    model: str
    geometry: DecoderGeometry
    self_share: np.ndarray | None = None
    cross_share: np.ndarray | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    token_counts: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ATTENTION_ARRAYS:
            values = _read_only(np.ascontiguousarray(getattr(self, name), dtype=np.float32))
            object.__setattr__(self, name, values)
            if values.ndim != 3 or 0 in values.shape:
                raise ValueError(f"{name} has shape {values.shape}; it needs (samples, layers, visual tokens)")
            if values.shape[1] != self.geometry.num_layers:
                raise ValueError(f"{name} has {values.shape[1]} layers; {self.model} has {self.geometry.num_layers}")
            if not np.isfinite(values).all() or values.min() < 0:
                raise ValueError(f"{name} holds values that are negative or no numbers")
        if self.self_attention.shape != self.cross_attention.shape:
            raise ValueError(
                f"self_attention has shape {self.self_attention.shape}, cross_attention {self.cross_attention.shape}"
            )

        self._check_shares()
        self._check_token_counts()
        self._check_provenance()

    def _check_shares(self) -> None:
        for name in SHARES:
            if getattr(self, name) is None:
                continue
            shares = _read_only(np.ascontiguousarray(getattr(self, name), dtype=np.float32))
            object.__setattr__(self, name, shares)
            if shares.shape != self.self_attention.shape[:2]:
                raise ValueError(f"{name} has shape {shares.shape}; it needs (samples, layers)")
            # A softmax may add up to a little more than 1.
            if not ((shares >= 0) & (shares <= 1.001)).all():
                raise ValueError(f"{name} holds values that are no shares")

    def _check_token_counts(self) -> None:
        counts = check_token_counts(self.token_counts, self.num_samples, self.num_visual_tokens)
        object.__setattr__(self, "token_counts", _read_only(counts))
        for sample in np.flatnonzero(counts < self.num_visual_tokens):
            for name in ATTENTION_ARRAYS:
                if getattr(self, name)[sample, :, counts[sample] :].any():
                    raise ValueError(f"{name} of sample {sample} goes on after its {counts[sample]} visual tokens")

    def _check_provenance(self) -> None:
        for name, value in self.provenance.items():
            if name in _ABOUT:
                raise ValueError(f"provenance holds {shown(name)}, which the file says by itself; choose another name")
            if not isinstance(name, str) or not isinstance(value, str):
                raise ValueError(f"provenance says {shown(name)}: {shown(value)}; both must be texts")

    @property
    def num_samples(self) -> int:
        """Samples in the batch."""
        return self.self_attention.shape[0]

    @property
    def num_visual_tokens(self) -> int:
        """Visual tokens of the sample that has most."""
        return self.self_attention.shape[2]

    def first(self, count: int) -> AttentionStatistics:
        """The statistics of the first `count` samples alone. Raises ValueError where there are fewer."""
        if not 1 <= count <= self.num_samples:
            raise ValueError(f"there are statistics of {self.num_samples} samples, not of {count}")
        counts = None if self.token_counts is None else self.token_counts[:count]
        width = self.num_visual_tokens if counts is None else int(counts.max())
        attention = {name: getattr(self, name)[:count, :, :width] for name in ATTENTION_ARRAYS}
        shares = {name: values[:count] for name in SHARES if (values := getattr(self, name)) is not None}
        return replace(self, **attention, **shares, token_counts=counts)

    def save(self, path: str | os.PathLike) -> None:
        """Write an .npz file; folders are made as needed, and a file that is there is replaced whole."""
        arrays = {name: getattr(self, name) for name in (*ATTENTION_ARRAYS, *SHARES)}
        known = {name: values for name, values in arrays.items() if values is not None}
        write_statistics(path, known, self.token_counts, self.model, self.geometry, self.provenance)

    @classmethod
    def load(cls, path: str | os.PathLike) -> AttentionStatistics:
        """Read what `save` wrote. Raises ValueError naming the file and what is wrong with it."""
        check_plain_file(path, "statistics")
        try:
            with zipfile.ZipFile(path) as archive:
                about = _read_about(archive)
                names = [*ATTENTION_ARRAYS, *SHARES, *(["token_counts"] if about.pop("schema") != SCHEMA else [])]
                arrays = {name: _read_array(archive, name) for name in names if f"{name}.npy" in archive.namelist()}
            if missing := [name for name in names if name not in (*SHARES, *arrays)]:
                raise ValueError(f"there is no {missing[0]}")
            return cls(model=about.pop("model"), geometry=about.pop("geometry"), provenance=about, **arrays)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"cannot read statistics {named(path)}: {_words(error)}") from error


def statistics_about(path: str | os.PathLike) -> dict[str, Any]:
    """What a file of statistics says of itself: model, geometry and provenance; its arrays are not read.

    Raises ValueError naming the file and what is wrong with it.
    """
    check_plain_file(path, "statistics")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_about(archive)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"cannot read statistics {named(path)}: {_words(error)}") from error


def _read_only(values: np.ndarray) -> np.ndarray:
    """A view of an array that cannot be written to; the array itself is the caller's."""
    view = values.view()
    view.setflags(write=False)
    return view


def _read_about(archive: zipfile.ZipFile) -> dict[str, Any]:
    """What the file says about its arrays: schema, model, geometry, and the provenance. Raises ValueError."""
    about = parse_json(str(_read_array(archive, "about")))
    if not isinstance(about, dict):
        raise ValueError(f"about is {shown(about)}; it must be an object")
    schema, sizes = about.get("schema"), about.get("geometry", {})
    if isinstance(schema, bool) or schema not in (SCHEMA, SCHEMA_WITH_COUNTS):
        raise ValueError(f"schema is {shown(schema)}; this version reads {SCHEMA} and {SCHEMA_WITH_COUNTS}")
    for name, value in about.items():
        if name not in ("schema", "geometry") and not isinstance(value, str):
            raise ValueError(f"{shown(name)} must be a text, not {shown(value)}")
    if not about.get("model"):
        raise ValueError("it does not name the model that it is of")
    try:
        return {**about, "geometry": DecoderGeometry(**sizes)}
    except TypeError as error:
        raise ValueError(f"geometry must be the sizes of a decoder, not {shown(sizes)}") from error


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of an .npz file. Raises ValueError for whatever numpy, zipfile or zlib make of bytes that are damaged.

    Those raise about anything: KeyError, zlib.error, EOFError, SyntaxError, NotImplementedError, struct.error ...
    """
    try:
        with archive.open(f"{name}.npy") as member:
            _check_extent(member, archive.getinfo(f"{name}.npy").file_size)
        with archive.open(f"{name}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)
    except KeyError as error:
        raise ValueError(f"there is no {name}") from error
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{name} is damaged: {_words(error)}") from error


def _check_extent(member: Any, size: int) -> None:
    """Raise ValueError if an array of `size` bytes claims to be larger, before room is made for what it claims."""
    version = np.lib.format.read_magic(member)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(member)
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{shape} numbers of type {dtype} do not fit into {size:,} bytes")


def _words(error: Exception) -> str:
    return cut(str(getattr(error, "strerror", None) or error) or type(error).__name__)


class RowByRow(NamedTuple):
    """An array that is never in memory as a whole: its shape, and float32 pieces whose numbers make it up in order."""

    shape: tuple[int, ...]
    pieces: Iterable[np.ndarray]


def check_statistics_file(out: str | os.PathLike, inputs: Iterable[str | os.PathLike | None] = ()) -> None:
    """Raise ValueError if statistics cannot be written here, or would destroy another file; see `check_output`."""
    check_output(out, inputs=inputs, begins=b"PK", what="a file of statistics")


def write_statistics(
    path: str | os.PathLike,
    arrays: Mapping[str, np.ndarray | RowByRow],
    token_counts: np.ndarray | None,
    model: str,
    geometry: DecoderGeometry,
    provenance: Mapping[str, str],
) -> None:
    """Write the file of an `AttentionStatistics`, its fields given one by one, so that arrays can be streamed.

    Folders are made as needed, and a file that is there is replaced whole, once the new one is on the disk.
    """
    width = arrays["self_attention"].shape[-1]
    is_unequal = token_counts is not None and bool((token_counts < width).any())
    about = {"schema": SCHEMA_WITH_COUNTS if is_unequal else SCHEMA, "model": model, "geometry": asdict(geometry)}
    members: dict[str, Any] = {**arrays, **({"token_counts": token_counts} if is_unequal else {})}
    members["about"] = np.array(json.dumps(about | dict(provenance)))
    with written_whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in members.items():
            # As numpy does it: the final size is not known yet when a member begins.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_array(member, array)


def _write_array(member: Any, array: np.ndarray | RowByRow) -> None:
    """Write an array in numpy's own format into a member of an archive."""
    if isinstance(array, np.ndarray):
        np.lib.format.write_array(member, array, allow_pickle=False)
        return
    descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
    np.lib.format.write_array_header_1_0(member, {"descr": descr, "fortran_order": False, "shape": array.shape})
    for piece in array.pieces:
        member.write(np.ascontiguousarray(piece, dtype=np.float32).tobytes())
