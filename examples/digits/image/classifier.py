"""The three versions of the digits classifier: what they compute, in training and in serving alike.

Used by ``train.py`` while the image is built and, unpickled, by ``service.py``. A row is one image of 8x8 pixels,
64 numbers from 0 (paper) to 16 (ink), row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier
from sklearn.svm import SVC

Array = np.ndarray[Any, np.dtype[np.float64]]

FULL_INK = 16.0
FIT_SEED = 1797


class Estimator(Protocol):
    """The part of a scikit-learn classifier that is used here."""

    def fit(self, features: Array, digits: Array) -> object:
        """Learn."""

    def predict(self, features: Array) -> Array:
        """One digit per row."""


def pixels_as_shares(rows: Array) -> Array:
    """Every pixel as a share of full ink."""
    return rows / FULL_INK


def pixels_and_column_contrast(rows: Array) -> Array:
    """Every pixel as a share of full ink, and beside it each inner column stretched to its own darkest pixel.

    The mistake of version 3: in a narrow digit some inner column has no ink at all, and 0/0 is not a number.
    """
    columns = rows.reshape(-1, 8, 8)[:, :, 1:7]
    with np.errstate(invalid="ignore"):
        stretched = columns / columns.max(axis=1, keepdims=True)
    return np.hstack([pixels_as_shares(rows), stretched.reshape(-1, 48) / 2])


@dataclass
class Classifier:
    """Features and an estimator on them."""

    features: Callable[[Array], Array]
    estimator: Estimator

    def fit(self, rows: Array, digits: Array) -> Classifier:
        """Learn from the rows whose features are all numbers, and return the classifier itself.

        Leaving out the others is why nobody noticed the mistake of version 3 before it served.
        """
        clean = self.are_clean(rows)
        self.estimator.fit(self.features(rows[clean]), digits[clean])
        return self

    def are_clean(self, rows: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each row, whether its features are all numbers; the estimator refuses it otherwise."""
        return np.asarray(np.isfinite(self.features(rows)).all(axis=1))

    def read(self, pixels: Sequence[float]) -> int:
        """The digit in one image of 64 pixels; ValueError if a feature is not a number."""
        row = np.array(pixels, dtype=np.float64).reshape(1, -1)
        return int(self.estimator.predict(self.features(row))[0])


def linear() -> Classifier:
    """Version 1: modest and quick."""
    return Classifier(pixels_as_shares, LinearDiscriminantAnalysis())


def support_vectors() -> Classifier:
    """Version 2: right more often, nearly as quick."""
    return Classifier(pixels_as_shares, SVC(gamma=0.256))


def contrast_committee() -> Classifier:
    """Version 3: a hundred support vector machines vote (slow), on features that some real images do not have."""
    committee = BaggingClassifier(SVC(gamma=0.05, C=10), n_estimators=100, max_samples=0.7, random_state=FIT_SEED)
    return Classifier(pixels_and_column_contrast, committee)


VERSIONS: dict[str, Callable[[], Classifier]] = {
    "1.0.0": linear,
    "2.0.0": support_vectors,
    "3.0.0": contrast_committee,
}
