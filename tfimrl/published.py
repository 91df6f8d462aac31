"""Results printed in the paper: IMRL (arXiv 2209.08228), Table II, for comparison only.

Each cell is the mean and the printed plus-minus, in percent, at twenty items. The paper states
no seeds, no split and no filter of users. A row implies the number of held-out items of a
user, precision times twenty over recall: 11 to 20 in the rows of IMRL. Librarything and
Book-Crossing, with 13 and 4 events a user in the paper's Table I, do not have as many items
without a filter. Therefore only the order of the methods can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

METRICS = ("recall", "precision", "ndcg")


class PrintedMetric(NamedTuple):
    """One number of the table.

    Attributes:
      mean: percent.
      about: the printed plus-minus, percentage points.
    """

    mean: float
    about: float


Row = Mapping[str, PrintedMetric]


def _row(*numbers: float) -> Row:
    """Recall, precision and nDCG, each followed by its plus-minus."""
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return {name: PrintedMetric(*pair) for name, pair in zip(METRICS, pairs, strict=True)}


# Data set -> method -> metric -> printed result. CASR is printed for STAMP.
TABLE_II: Mapping[str, Mapping[str, Row]] = {
    "amazon_cds": {
        "sasrec": _row(5.129, 0.233, 2.349, 0.144, 4.591, 0.312),
        "casr_stamp": _row(8.321, 0.212, 5.012, 0.129, 7.282, 0.212),
        "causerec": _row(9.124, 0.213, 4.892, 0.299, 6.214, 0.479),
        "cocorec": _row(8.982, 0.221, 4.982, 0.312, 7.122, 0.218),
        "deers": _row(7.123, 0.221, 3.581, 0.200, 6.341, 0.312),
        "kgrl": _row(8.208, 0.241, 4.782, 0.341, 6.876, 0.511),
        "tpgr": _row(7.294, 0.312, 2.872, 0.531, 6.128, 0.541),
        "pgpr": _row(6.619, 0.123, 1.892, 0.143, 5.970, 0.131),
        "imrl": _row(9.213, 0.219, 5.032, 0.125, 7.421, 0.231),
    },
    "librarything": {
        "sasrec": _row(8.419, 0.294, 6.726, 0.139, 7.471, 0.221),
        "casr_stamp": _row(14.213, 0.311, 12.512, 0.219, 13.555, 0.198),
        "causerec": _row(14.222, 0.421, 12.582, 0.321, 12.875, 0.317),
        "cocorec": _row(13.982, 0.123, 11.233, 0.300, 12.098, 0.302),
        "deers": _row(10.422, 0.231, 10.321, 0.355, 11.872, 0.241),
        "kgrl": _row(12.128, 0.241, 12.451, 0.242, 13.925, 0.252),
        "tpgr": _row(14.713, 0.644, 12.410, 0.612, 13.225, 0.722),
        "pgpr": _row(11.531, 0.241, 10.333, 0.341, 12.641, 0.442),
        "imrl": _row(14.829, 0.321, 12.610, 0.231, 14.021, 0.335),
    },
    "book_crossing": {
        "sasrec": _row(5.831, 0.272, 3.184, 0.149, 4.129, 0.390),
        "casr_stamp": _row(8.322, 0.300, 5.012, 0.211, 5.922, 0.198),
        "causerec": _row(9.213, 0.213, 6.213, 0.198, 6.872, 0.212),
        "cocorec": _row(8.234, 0.231, 5.182, 0.200, 5.829, 0.120),
        "deers": _row(7.321, 0.320, 2.574, 0.201, 6.123, 0.123),
        "kgrl": _row(8.004, 0.223, 3.521, 0.332, 7.641, 0.446),
        "tpgr": _row(7.246, 0.321, 4.523, 0.442, 7.870, 0.412),
        "pgpr": _row(6.998, 0.112, 3.932, 0.121, 7.333, 0.133),
        "imrl": _row(9.331, 0.213, 5.442, 0.124, 7.921, 0.200),
    },
    "goodreads": {
        "sasrec": _row(6.921, 0.312, 5.242, 0.211, 6.124, 0.210),
        "casr_stamp": _row(11.228, 0.123, 10.922, 0.339, 10.233, 0.210),
        "causerec": _row(11.827, 0.431, 10.982, 0.412, 10.277, 0.312),
        "cocorec": _row(10.882, 0.233, 10.012, 0.210, 10.012, 0.129),
        "deers": _row(8.231, 0.122, 9.318, 0.132, 9.401, 0.184),
        "kgrl": _row(7.459, 0.401, 11.444, 0.321, 10.331, 0.331),
        "tpgr": _row(11.219, 0.323, 10.322, 0.442, 9.825, 0.642),
        "pgpr": _row(11.421, 0.223, 10.042, 0.212, 9.234, 0.242),
        "imrl": _row(12.013, 0.201, 11.726, 0.138, 10.612, 0.320),
    },
    "movielens": {
        "sasrec": _row(14.512, 0.510, 12.412, 0.333, 12.401, 0.422),
        "casr_stamp": _row(17.324, 0.212, 14.021, 0.210, 14.821, 0.213),
        "causerec": _row(17.625, 0.331, 14.982, 0.291, 14.231, 0.211),
        "cocorec": _row(16.212, 0.211, 14.222, 0.290, 13.491, 0.219),
        "deers": _row(16.123, 0.312, 12.984, 0.221, 12.322, 0.198),
        "kgrl": _row(16.021, 0.498, 14.989, 0.432, 13.007, 0.543),
        "tpgr": _row(16.431, 0.369, 13.421, 0.257, 13.512, 0.484),
        "pgpr": _row(14.234, 0.207, 9.531, 0.219, 11.561, 0.228),
        "imrl": _row(17.798, 0.231, 15.041, 0.122, 14.991, 0.132),
    },
    "netflix": {
        "sasrec": _row(11.321, 0.231, 10.322, 0.294, 14.225, 0.421),
        "casr_stamp": _row(13.551, 0.240, 12.412, 0.122, 15.212, 0.211),
        "causerec": _row(13.982, 0.325, 12.842, 0.222, 15.882, 0.261),
        "cocorec": _row(13.762, 0.199, 12.001, 0.129, 13.284, 0.235),
        "deers": _row(12.847, 0.219, 11.321, 0.294, 14.521, 0.401),
        "kgrl": _row(13.009, 0.343, 11.874, 0.232, 13.082, 0.348),
        "tpgr": _row(12.512, 0.556, 11.512, 0.595, 15.425, 0.602),
        "pgpr": _row(10.982, 0.181, 10.123, 0.227, 15.134, 0.243),
        "imrl": _row(14.421, 0.239, 13.012, 0.321, 15.448, 0.122),
    },
}
