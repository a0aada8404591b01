"""The measures of tracking: HOTA, CLEAR (MOTA) and identity (IDF1), from similarities of truths and tracks per frame.

Sources: Luiten et al., "HOTA: a higher order metric for evaluating multi-object tracking", IJCV 2021; Bernardin and
Stiefelhagen, "Evaluating multiple object tracking performance: the CLEAR MOT metrics", 2008; Ristani et al.,
"Performance measures and a data set for multi-target, multi-camera tracking", ECCVW 2016. Where the papers leave
something open, and in how sequences are combined, the rules are those of the package trackeval 1.3.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolopose.evaluate.assignment import assign

Array = NDArray[Any]
LIMITS = np.arange(0.05, 0.99, 0.05)  # of HOTA: similarities from which a pair matches
MATCH = 0.5  # the same of CLEAR and identity
EPS = float(np.finfo(float).eps)
CONTINUED = 1000.0  # CLEAR prefers the pairs of the frame before to any others


class Frame(NamedTuple):
    """One frame: numbers of the true tracks (G,) and of the found ones (N,), and their similarities (G, N) in 0..1."""

    truth: Array
    found: Array
    similarity: Array


@dataclass(frozen=True, eq=False)
class Counts:
    """What a sequence adds to the measures; the counts of several sequences are their sum.

    The first seven have one value per limit of HOTA (19,): matched pairs, truths and found rows without match, the sum
    of similarities, and the sums over matched pairs of the association's accuracy, recall and precision.
    """

    tp: Array
    fn: Array
    fp: Array
    near: Array
    ass: Array
    ass_re: Array
    ass_pr: Array
    clear_tp: int = 0
    clear_fn: int = 0
    clear_fp: int = 0
    clear_near: float = 0.0
    idsw: int = 0
    frag: int = 0
    mt: int = 0
    pt: int = 0
    ml: int = 0
    idtp: int = 0
    idfn: int = 0
    idfp: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def figures(self) -> dict[str, float | int]:
        """The measures by name, shares in 0..1.

        HOTA and its parts are means over the limits. Where nothing matches LocA is 1, and without truth MOTA is 0: so
        says trackeval of a sequence, while for several sequences without any truth it gives the MOTA -FP.
        """
        matched = np.maximum(1, self.tp)
        det, ass = self.tp / np.maximum(1, self.tp + self.fn + self.fp), self.ass / matched
        truths = self.clear_tp + self.clear_fn
        mota = (self.clear_tp - self.clear_fp - self.idsw) / truths if truths else 0.0
        return {
            "HOTA": _mean(np.sqrt(det * ass)),
            "DetA": _mean(det),
            "AssA": _mean(ass),
            "DetRe": _mean(self.tp / np.maximum(1, self.tp + self.fn)),
            "DetPr": _mean(self.tp / np.maximum(1, self.tp + self.fp)),
            "AssRe": _mean(self.ass_re / matched),
            "AssPr": _mean(self.ass_pr / matched),
            "LocA": _mean(np.where(self.tp > 0, self.near / matched, 1.0)),
            "MOTA": mota,
            "MOTP": self.clear_near / max(1, self.clear_tp),
            "IDSW": self.idsw,
            "FP": self.clear_fp,
            "FN": self.clear_fn,
            "Frag": self.frag,
            "MT": self.mt,
            "PT": self.pt,
            "ML": self.ml,
            "IDF1": self.idtp / max(1.0, self.idtp + 0.5 * (self.idfp + self.idfn)),
            "IDP": self.idtp / max(1, self.idtp + self.idfp),
            "IDR": self.idtp / max(1, self.idtp + self.idfn),
        }


def _mean(values: Array) -> float:
    return float(values.mean())


def count(frames: Sequence[Frame]) -> Counts:
    """The counts of one sequence, whose frames are in order of time.

    Tracks are numbered from 0 without gaps over the sequence, true and found ones separately. No number may occur twice
    in a frame.
    """
    truths, tracks = (np.concatenate([np.zeros(0, int), *(frame[i] for frame in frames)]) for i in (0, 1))
    lengths = np.bincount(truths.astype(int)), np.bincount(tracks.astype(int))
    counts: dict[str, Any] = {**_hota(frames, *lengths), **_clear(frames, lengths[0]), **_identity(frames, *lengths)}
    return Counts(**counts)


def _hota(frames: Sequence[Frame], truths: Array, tracks: Array) -> dict[str, Array]:
    """Luiten et al., equations 12 to 24; `truths` and `tracks`: in how many frames each is (lengths G and N)."""
    shape = len(truths), len(tracks)
    union = truths[:, None] + tracks[None]
    alignment = _alignment(frames, union)
    pairs, near = [np.zeros(0, int)], [np.zeros(0)]
    for truth, found, similarity in frames:
        rows, columns = assign(alignment[truth[:, None], found] * similarity)
        pairs.append(truth[rows] * shape[1] + found[columns])
        near.append(similarity[rows, columns])
    pair, similarities = np.concatenate(pairs), np.concatenate(near)
    out = {name: np.zeros(len(LIMITS)) for name in ("tp", "near", "ass", "ass_re", "ass_pr")}
    for i, limit in enumerate(LIMITS):
        matched = similarities >= limit - EPS
        at, times = np.unique(pair[matched], return_counts=True)
        row, column = at // max(1, shape[1]), at % max(1, shape[1])
        out["tp"][i] = matched.sum()
        out["near"][i] = similarities[matched].sum()
        out["ass"][i] = (times * (times / (union[row, column] - times))).sum()
        out["ass_re"][i] = (times * (times / truths[row])).sum()
        out["ass_pr"][i] = (times * (times / tracks[column])).sum()
    return {**out, "fn": truths.sum() - out["tp"], "fp": tracks.sum() - out["tp"]}


def _alignment(frames: Sequence[Frame], union: Array) -> Array:
    """(G, N) how well a true and a found track agree over the whole sequence, before any matching; `union` (G, N)."""
    agreement = np.zeros(union.shape)
    for truth, found, similarity in frames:
        either = similarity.sum(0)[None] + similarity.sum(1)[:, None] - similarity
        share = np.divide(similarity, either, out=np.zeros_like(similarity), where=either > EPS)
        agreement[truth[:, None], found] += share
    return np.asarray(agreement / (union - agreement))


def _clear(frames: Sequence[Frame], truths: Array) -> dict[str, Any]:
    """Bernardin and Stiefelhagen: matches that continue those of the frame before, then the most similar ones.

    As in trackeval, "the frame before" is the last one in which both a truth and a found row were.
    """
    last = np.full(len(truths), -1)  # the track that was matched last, any time ago
    previous = last.copy()  # in the frame before
    hits, starts = np.zeros(len(truths), int), np.zeros(len(truths), int)
    near, switches = 0.0, 0
    for truth, found, similarity in frames:
        if not len(truth) or not len(found):
            continue
        score = CONTINUED * (found[None] == previous[truth][:, None]) + similarity
        score[similarity < MATCH - EPS] = 0
        rows, columns = assign(score)
        seen, by = truth[rows], found[columns]
        switches += int(((last[seen] >= 0) & (last[seen] != by)).sum())
        hits[seen] += 1
        starts[seen] += previous[seen] < 0
        last[seen] = by
        previous[:] = -1
        previous[seen] = by
        near += float(similarity[rows, columns].sum())
    share, matched = hits / np.maximum(1, truths), int(hits.sum())
    mostly, lost = int((share > 0.8).sum()), int((share < 0.2).sum())
    return {
        "clear_tp": matched,
        "clear_fn": int(truths.sum()) - matched,
        "clear_fp": sum(len(frame.found) for frame in frames) - matched,
        "clear_near": near,
        "idsw": switches,
        "frag": int(np.maximum(starts - 1, 0).sum()),
        "mt": mostly,
        "pt": len(truths) - mostly - lost,
        "ml": lost,
    }


def _identity(frames: Sequence[Frame], truths: Array, tracks: Array) -> dict[str, int]:
    """Ristani et al.: one track for each truth over the whole sequence, so that most frames agree."""
    agreeing = np.zeros((len(truths), len(tracks)))
    for truth, found, similarity in frames:
        rows, columns = np.nonzero(similarity >= MATCH)
        agreeing[truth[rows], found[columns]] += 1
    right = int(agreeing[assign(agreeing)].sum())
    return {"idtp": right, "idfn": int(truths.sum()) - right, "idfp": int(tracks.sum()) - right}
