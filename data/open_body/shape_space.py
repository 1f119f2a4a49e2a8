"""Linear shape and expression spaces."""

from __future__ import annotations

import numpy as np

EXPRESSION_SPREAD = 0.2
"""Standard deviation of each facial unit's activation (0..1) under a standard normal expression."""


def principal_components(samples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Principal components of symmetric figures, scaled to unit variance of their coefficients.

    Args:
        samples: (n, V, 3) metres.
        count: components kept.
    Returns:
        mean (V, 3); components (count, V, 3) metres a standard deviation; share of the variance they hold. The sign
        of each component is the one that widens the figure, whichever the eigenvector routine gave.
    """
    mean = samples.mean(0)
    flat = (samples - mean).reshape(len(samples), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(values)[::-1][:count]
    components = (vectors[:, order].T @ flat).reshape(count, *mean.shape) / np.sqrt(len(samples))
    components *= np.sign((components * mean).sum((1, 2)))[:, None, None]
    return mean, components, float(values[order].sum() / values.sum())


def expression_components(units: np.ndarray, count: int) -> np.ndarray:
    """(count, V, 3) components of facial units (U, V, 3), scaled so that standard normal coefficients move the face as
    units of standard deviation ``EXPRESSION_SPREAD`` would."""
    flat = units.reshape(len(units), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(values)[::-1][:count]
    components = EXPRESSION_SPREAD * (vectors[:, order].T @ flat).reshape(count, *units.shape[1:])
    flat = components.reshape(count, -1)
    largest = np.take_along_axis(flat, np.abs(flat).argmax(1)[:, None], 1)
    return components * np.sign(largest)[..., None]
