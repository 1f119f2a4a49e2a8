"""Linear shape and expression spaces."""

from __future__ import annotations

import numpy as np

EXPRESSION_SPREAD = 0.35
"""Standard deviation of each facial unit's activation (0..1) under a standard normal expression."""


def principal_components(samples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Principal components of symmetric figures, scaled to unit variance of their coefficients.

    Args:
        samples: (n, V, 3) metres.
        count: components kept.
    Returns:
        mean (V, 3); components (count, V, 3) metres a standard deviation; share of the variance they hold. The sign
        of each component makes the figure grow.
    """
    mean = samples.mean(0)
    flat = (samples - mean).reshape(len(samples), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(values)[::-1][:count]
    components = (vectors[:, order].T @ flat).reshape(count, *mean.shape) / np.sqrt(len(samples))
    components *= _signs(components)[:, None, None]
    return mean, components, float(values[order].sum() / values.sum())


def expression_components(units: np.ndarray, count: int) -> np.ndarray:
    """(count, V, 3) components of facial units (U, V, 3), scaled so that standard normal coefficients move the face as
    units of standard deviation ``EXPRESSION_SPREAD`` would."""
    flat = units.reshape(len(units), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(values)[::-1][:count]
    components = EXPRESSION_SPREAD * (vectors[:, order].T @ flat).reshape(count, *units.shape[1:])
    return components * _signs(components)[:, None, None]


def _signs(components: np.ndarray) -> np.ndarray:
    """A sign for each component that does not depend on the eigenvector routine: vertical extent grows, or else (no
    change of extent) the largest displacement is positive."""
    heights = components[..., 1]
    extent = heights.max(1) - heights.min(1)
    balance = heights.max(1) + heights.min(1)
    flat = components.reshape(len(components), -1)
    largest = np.take_along_axis(flat, np.abs(flat).argmax(1)[:, None], 1)[:, 0]
    return np.sign(np.where(np.abs(balance) > 1e-3 * extent, balance, largest))
