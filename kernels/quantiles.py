"""The inverse of a cumulative distribution."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dtypes import wants_gradient, widened
from .workers import spread

# Rows are shared by threads in so many parts.
_TASKS = 16


def quantile_function(cdf: Tensor, probability: Tensor) -> Tensor:
    """Invert a cumulative distribution by linear interpolation between the levels that occur in it.

    ``cdf`` ``[..., bins]`` rises to 1, and counts a pixel in each row. ``probability`` ``[..., n]``, of its dtype and on its
    device, lies in [0, 1] and never falls from left to right; the other dimensions of ``cdf`` broadcast to its own. The result
    has its shape, levels in [0, 1], differentiable in both. What is below the first level that occurs goes there.
    """
    cdf = cdf.expand(*probability.shape[:-1], cdf.shape[-1])
    if cdf.device.type != "cpu" or wants_gradient(cdf, probability):
        return _search(cdf, probability)
    wanted, known = (rows.detach().reshape(-1, rows.shape[-1]).double().numpy() for rows in (probability, cdf))
    found = np.empty_like(wanted)
    spread(_interpolate, *(np.array_split(rows, min(len(rows), _TASKS)) for rows in (known, wanted, found)))
    return torch.from_numpy(found).to(probability.dtype).view(probability.shape)


def _interpolate(cdfs: NDArray[np.float64], probabilities: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for cdf, probability, row in zip(cdfs, probabilities, out, strict=True):
        occurring = np.flatnonzero(cdf[1:] > cdf[:-1]) + 1
        if cdf[0] > 0:
            occurring = np.concatenate([[0], occurring])
        np.divide(np.interp(probability, cdf[occurring], occurring), len(cdf) - 1, out=row)


def _search(cdf: Tensor, probability: Tensor) -> Tensor:
    """The same by a search for the bin at which each probability is met, with gradients."""
    dtype, bins = probability.dtype, cdf.shape[-1]
    # Half precision holds neither 65536 levels nor the slopes between them.
    cdf, probability = widened(cdf), widened(probability)
    below = torch.nn.functional.pad(cdf, (1, -1))
    fixed = cdf.detach().contiguous()
    level = torch.arange(bins, dtype=cdf.dtype, device=cdf.device).expand_as(cdf)
    occurring = torch.where(fixed > below.detach(), level, -1).cummax(-1).values
    before = torch.nn.functional.pad(occurring, (1, -1), value=-1)
    # The level from which a probability that is met at this bin is interpolated: the occurring one before, if any.
    lower = torch.where(before < 0, level, before)
    # The smallest positive probability instead of 0, so that what lies below the source goes to the first level that occurs.
    wanted = probability.detach().clamp(min=torch.finfo(probability.dtype).tiny).contiguous()
    upper = torch.searchsorted(fixed, wanted).clamp_(max=bins - 1)
    below, reached, lower = (table.gather(-1, upper) for table in (below, cdf, lower))
    # A probability inside a jump of the distribution is met part of the way from the occurring level before.
    part = ((probability - below) / (reached - below)).clamp(0, 1)
    return (torch.lerp(lower, upper.to(part.dtype), part) / (bins - 1)).to(dtype)
