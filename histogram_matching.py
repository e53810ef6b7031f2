"""Histogram matching on torch tensors, with gradients for the image and for the reference.

Pixels are counted into a histogram, the histogram is summed into a cumulative distribution, two distributions make a
transfer function, and the transfer function is applied to pixels. Each step is a function of its own:
:func:`histogram`, :func:`cumulative_distribution`, :func:`transfer_function` and :func:`apply_transfer`;
:class:`HistogramMatching` is the four in a row.

Counting and applying have two evaluations of one function. Where a gradient is wanted, pixels are binned softly at their
own precision. Where none is wanted, pixels are rounded to 16-bit levels first, so that counting is whole-number counting
and applying is one table look-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import torch
from torch import Tensor

from .soft_binning import block_size, interpolate, nearest_end, precise_dtype, soft_histogram, working_dtype

LEVELS = 65536
"""Levels of the evaluation without gradients. 65535 = 255 * 257, so 8-bit values are levels too, without rounding."""

# Channels that share one table of 16-bit levels. A float32 has the bits to number the levels of this many.
_CHANNELS = 4
# Threads that count with a table of their own. Adding up more tables would cost more than the threads save.
_COUNTING_THREADS = 4


def histogram(image: Tensor, bins: int = 256, weights: Tensor | None = None, *, in_range: bool | None = None) -> Tensor:
    """Count the pixels of each channel in soft bins.

    Bin ``k`` is centred at ``k / (bins - 1)``. A pixel between two centres is split between them in proportion to its
    nearness (the triangular kernel of Ustinova and Lempitsky 2016, "Learning deep embeddings with histogram loss"), so a
    pixel on a centre counts there alone and the counts of 8-bit content in 256 bins are whole numbers. Values outside
    [0, 1] count at the nearest end; NaN and infinite values are left out.

    Args:
        image: floating point, shape ``[..., C, H, W]``, values in [0, 1], any strides.
        bins: number of bins, 2 to 65536.
        weights: floating point, not negative, of a shape that broadcasts to the image's: a mask ``[..., 1, H, W]``, say. A
            pixel counts as its weight; by default each counts as 1.
        in_range: what :func:`is_in_range` says of the image, for a caller who has asked; saves asking.

    Returns:
        Counts of shape ``[..., C, bins]``, float64 (float32 on devices without float64). If gradients are enabled and
        ``image`` or ``weights`` requires one, the counts are differentiable in both; else each pixel is first rounded to
        the nearest of 65536 levels.

    Raises:
        TypeError: ``image`` or ``weights`` is not a floating-point tensor, or ``bins`` is not an int.
        ValueError: ``image`` has fewer than three dimensions or no pixels, ``bins`` is out of range, or ``weights`` does
            not fit the image or holds a negative number, an infinity or NaN.
    """
    check_pixels("image", image)
    check_bins(bins)
    frames = pixel_rows(image)
    weight_frames = None if weights is None else weight_rows(image, weights)
    if wants_gradient(image) or (weights is not None and wants_gradient(weights)):
        counts = soft_histogram(frames, bins, weight_frames)
    else:
        rows = []
        for index, frame in enumerate(frames):
            for first in range(0, frame.shape[0], _CHANNELS):
                part = slice(first, first + _CHANNELS)
                weight = None if weight_frames is None else weight_frames[index, part]
                rows.append(soften(_count_levels(frame[part], weight, in_range), bins))
        counts = torch.cat(rows) if len(rows) > 1 else rows[0]
    return counts.reshape(*image.shape[:-2], bins)


def cumulative_distribution(counts: Tensor) -> Tensor:
    """Sum a histogram into the fraction of pixels at or below each bin.

    Args:
        counts: floating point, shape ``[..., bins]``, not negative.

    Returns:
        Same shape and dtype, rising from left to right to 1; 0 throughout where a histogram counts nothing.

    Raises:
        TypeError: ``counts`` is not a floating-point tensor.
        ValueError: ``counts`` has fewer than two bins.
    """
    _check_rows("counts", counts)
    cumulative = counts.cumsum(-1)
    total = cumulative[..., -1:]
    return cumulative / torch.where(total > 0, total, torch.ones_like(total))


def transfer_function(source_cdf: Tensor, reference_cdf: Tensor) -> Tensor:
    """Map each level of the source to the level of the reference that has the same quantile.

    The reference's distribution is inverted by linear interpolation between the levels that occur in it, as
    ``numpy.interp`` over its non-empty bins does. On 8-bit content in 256 bins the table therefore holds what
    ``skimage.exposure.match_histograms`` computes. This is histogram specification (Gonzalez and Woods, Digital Image
    Processing, ch. 3) with the generalised inverse of the empirical distribution.

    Args:
        source_cdf: floating point, shape ``[..., bins]``, as :func:`cumulative_distribution` gives it.
        reference_cdf: same dtype and number of bins; its other dimensions broadcast to those of ``source_cdf``.

    Returns:
        A table of the shape of ``source_cdf``: the value in [0, 1] that each bin centre goes to, never falling from left
        to right. Differentiable in both arguments.

    Raises:
        TypeError: an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: the shapes do not fit, or a reference distribution counts nothing.
    """
    _check_rows("source_cdf", source_cdf)
    _check_rows("reference_cdf", reference_cdf)
    if source_cdf.dtype != reference_cdf.dtype:
        raise TypeError(f"source_cdf and reference_cdf: expected one dtype, got {source_cdf.dtype} and {reference_cdf.dtype}")
    try:
        reference_cdf.expand_as(source_cdf)
    except RuntimeError:
        raise ValueError(
            f"reference_cdf: expected a shape that broadcasts to source_cdf's {list(source_cdf.shape)}, "
            f"got {list(reference_cdf.shape)}"
        ) from None
    if not bool((reference_cdf[..., -1] > 0).all()):
        raise ValueError("reference_cdf: expected at least one counted pixel in each channel, got a channel with none")
    return QuantileFunction(reference_cdf)(source_cdf)


def nearest_transfer_function(source_counts: Tensor, reference_counts: Tensor) -> Tensor:
    """Map each of 256 levels of the source to the level whose cumulative distribution in the reference is nearest to its own.

    This is conventional histogram matching as textbooks have it, and as the first algorithm of the supplement to Otsuka et al.
    2025, "Rethinking image histogram matching for image classification", writes it down: of several levels equally near, the
    darkest one. It has no gradient.

    Args:
        source_counts: a histogram at 65536 levels, as the function for histograms in this module gives it with so many bins.
        reference_counts: likewise, with as many channels as the source or with one channel.

    Returns:
        A table in the shape of the source's histogram. All levels that round to the same one of 256 have the same value in it,
        which is one of 256 levels again.
    """
    nearest_8bit = (torch.arange(LEVELS, device=source_counts.device) + 128) // 257
    source_cdf, reference_cdf = (
        cumulative_distribution(counts.detach().new_zeros(counts.shape[0], 256).index_add_(1, nearest_8bit, counts.detach()))
        for counts in (source_counts, reference_counts)
    )
    table = (reference_cdf[:, None, :] - source_cdf[:, :, None]).abs().argmin(dim=-1)
    return table[:, nearest_8bit].to(source_cdf.dtype) / 255


class QuantileFunction:
    """The inverse of a cumulative distribution, for one reference that serves many images.

    Args:
        cdf: floating point, shape ``[..., bins]``, as :func:`cumulative_distribution` gives it, with at least one counted
            pixel in each row.
    """

    def __init__(self, cdf: Tensor) -> None:
        self._cdf = cdf
        self._below = torch.nn.functional.pad(cdf, (1, -1))
        fixed = cdf.detach().contiguous()
        level = torch.arange(cdf.shape[-1], dtype=cdf.dtype, device=cdf.device).expand_as(cdf)
        occurring = torch.where(fixed > self._below.detach(), level, -1).cummax(-1).values
        before = torch.nn.functional.pad(occurring, (1, -1), value=-1)
        # The level from which a quantile that is met at this bin is interpolated: the occurring one before, if any.
        self._lower = torch.where(before < 0, level, before)
        self._search = _Search(fixed)

    @property
    def cdf(self) -> Tensor:
        """The distribution."""
        return self._cdf

    @property
    def device(self) -> torch.device:
        """Where the distribution is."""
        return self._cdf.device

    def __call__(self, quantile: Tensor) -> Tensor:
        """Evaluate at ``quantile`` ``[..., n]``, in [0, 1] and never falling from left to right.

        Returns:
            Values in [0, 1] of the shape of ``quantile``, to whose dimensions those of the distribution broadcast.
        """
        if wants_gradient(quantile, self._cdf):
            return self._evaluate(quantile)
        # 8-bit content has 256 quantiles, not 65536: each is looked for once.
        run = torch.nn.functional.pad(quantile.diff() != 0, (1, 0)).cumsum(-1)
        distinct = int(run[..., -1].max()) + 1
        if distinct > quantile.shape[-1] // 4:
            return self._evaluate(quantile)
        once = quantile.new_zeros(*quantile.shape[:-1], distinct).scatter_(-1, run, quantile)
        return self._evaluate(once).gather(-1, run)

    def _evaluate(self, quantile: Tensor) -> Tensor:
        bins = self._cdf.shape[-1]
        # The smallest positive quantile instead of 0, so that what lies below the source goes to the first level that occurs.
        upper = self._search(quantile.detach().clamp(min=torch.finfo(quantile.dtype).tiny))
        below, reached, lower = (
            table.expand(*quantile.shape[:-1], bins).gather(-1, upper) for table in (self._below, self._cdf, self._lower)
        )
        # A quantile inside a jump of the reference's distribution is met part of the way from the occurring level before.
        part = ((quantile - below) / (reached - below)).clamp(0, 1)
        return torch.lerp(lower, upper.to(part.dtype), part) / (bins - 1)


def is_in_range(image: Tensor) -> bool:
    """Whether all values of ``image`` ``[..., C, H, W]`` are in [0, 1], with no NaN among them."""
    frames = pixel_rows(image.detach())
    for frame in frames:
        lowest, highest = torch.aminmax(frame.t() if _interleaved(frame) else frame)
        if not (lowest >= 0 and highest <= 1):
            return False
    return True


def apply_transfer(image: Tensor, table: Tensor, *, out: Tensor | None = None, in_range: bool | None = None) -> Tensor:
    """Send each pixel through the transfer function of its channel, linearly between the table's entries.

    Args:
        image: floating point, shape ``[..., C, H, W]``, values in [0, 1], any strides.
        table: floating point, shape ``[..., C, bins]``; entry ``k`` is the value that ``k / (bins - 1)`` goes to. Its
            dimensions broadcast to those of ``image`` without height and width.
        out: where to write the result, of the image's shape and device, its last two dimensions joinable without a copy;
            only where no gradient is wanted. New memory by default.
        in_range: what :func:`is_in_range` says of the image, for a caller who has asked; saves asking.

    Returns:
        The image's shape, dtype, device and memory order. Values outside [0, 1] go where the nearest end goes; NaN
        becomes 0 and an infinity the nearest end. If gradients are enabled and an argument requires one, the result is
        differentiable in both; else each pixel is first rounded to the nearest of 65536 levels.

    Raises:
        TypeError: an argument is not a floating-point tensor.
        ValueError: a shape does not fit, or ``out`` is given where a gradient is wanted.
    """
    check_pixels("image", image)
    _check_rows("table", table)
    if out is not None:
        _check_floating("out", out)
        if out.shape != image.shape or out.device != image.device:
            raise ValueError(
                f"out: expected the image's shape {list(image.shape)} on {image.device}, got {list(out.shape)} on {out.device}"
            )
    try:
        tables = table.expand(*image.shape[:-2], table.shape[-1]).reshape(-1, image.shape[-3], table.shape[-1])
    except RuntimeError:
        raise ValueError(
            f"table: expected a shape [..., C, bins] that broadcasts to image's {list(image.shape)} without height and "
            f"width, got {list(table.shape)}"
        ) from None
    frames = pixel_rows(image)
    if wants_gradient(image, table):
        if out is not None:
            raise ValueError("out: expected None where a gradient is wanted, got a tensor")
        return interpolate(frames, tables).reshape(image.shape)
    try:
        matched = torch.empty_like(frames) if out is None else out.view(frames.shape)
    except RuntimeError:
        raise ValueError("out: expected height and width that join without a copy, got others") from None
    for frame, frame_table, matched_frame in zip(frames, tables, matched, strict=True):
        levels = _sharpen(frame_table).to(working_dtype(frame))
        for part in zip(frame.split(_CHANNELS), levels.split(_CHANNELS), matched_frame.split(_CHANNELS), strict=True):
            _look_up_levels(*part, in_range)
    return matched.reshape(image.shape) if out is None else out


class HistogramMatching(torch.nn.Module):
    """Give each image of a batch the histogram of a reference, channel by channel.

    Args:
        bins: number of bins and of entries in the transfer function, 2 to 65536. 256 makes smooth gradients and is exact
            on 8-bit content; 65536 follows continuous content to the limit of 16 bits.

    Raises:
        TypeError: ``bins`` is not an int.
        ValueError: ``bins`` is out of range.
    """

    def __init__(self, bins: int = 256) -> None:
        super().__init__()
        check_bins(bins)
        self.bins = bins

    def forward(
        self,
        image: Tensor,
        reference: Tensor,
        image_weights: Tensor | None = None,
        reference_weights: Tensor | None = None,
    ) -> Tensor:
        """Match ``image`` to ``reference``.

        Args:
            image: floating point, shape ``[B, C, H, W]``, values in [0, 1], any strides.
            reference: floating point, shape ``[1 or B, C, H', W']``, values in [0, 1], any strides. One reference serves
                the whole batch.
            image_weights: how much each pixel of ``image`` counts, not negative, of a shape that broadcasts to the
                image's. All pixels are matched, whatever their weight.
            reference_weights: likewise for ``reference``.

        Returns:
            The image's shape, dtype and memory order, values in [0, 1], differentiable in all arguments.

        Raises:
            TypeError: an argument is not a floating-point tensor.
            ValueError: a shape or a weight does not fit, or no finite pixel of a channel of the reference counts.
        """
        check_pair(image, reference)
        table = transfer_function(
            cumulative_distribution(histogram(image, self.bins, image_weights)),
            cumulative_distribution(histogram(reference, self.bins, reference_weights)),
        )
        return apply_transfer(image, table)

    def extra_repr(self) -> str:
        """Name the settings in the module's ``repr``."""
        return f"bins={self.bins}"


def _count_levels(frame: Tensor, weights: Tensor | None, in_range: bool | None) -> Tensor:
    """Count each channel of ``frame`` ``[C, N]`` at its 16-bit levels: pixels in integers, or ``weights`` ``[C, N]``."""
    channels = frame.shape[0]
    # scatter_add runs each row on one thread, so each thread gets a row of counts and a share of the pixels. With one thread,
    # index_add is as fast, and its indices are half the size.
    rows = min(torch.get_num_threads(), _COUNTING_THREADS) if frame.device.type == "cpu" else 1
    index_dtype = torch.int32 if rows == 1 and frame.device.type == "cpu" else torch.int64
    # Adding to int32 is faster than to int64, and 2^30 pixels cannot overflow it.
    adding = torch.int32 if weights is None else precise_dtype(frame.device)
    stretches = []
    one = torch.ones((), dtype=adding, device=frame.device)
    for first in range(0, frame.shape[1], 1 << 30):
        stretch = slice(first, first + (1 << 30))
        shares = torch.zeros(rows, channels * LEVELS, dtype=adding, device=frame.device)
        added_blocks = repeat(one) if weights is None else _blocks(weights[:, stretch], _interleaved(frame))
        for (_, level, finite), added in zip(
            _level_blocks(frame[:, stretch], index_dtype, in_range), added_blocks, strict=False
        ):
            if weights is not None:
                added = added.reshape(-1).to(adding)
            if finite is not None:
                level = level[finite]
                added = added if weights is None else added[finite]
            added = added.expand_as(level)
            if index_dtype == torch.int32:
                shares[0].index_add_(0, level, added)
                continue
            even = level.numel() // rows * rows
            shares.scatter_add_(1, level[:even].view(rows, -1), added[:even].view(rows, -1))
            shares[:1].scatter_add_(1, level[even:].view(1, -1), added[even:].view(1, -1))
        for share in shares[1:]:
            shares[0] += share
        stretches.append(shares[0])
    # The sum of int32 is an int64.
    counts = stretches[0] if len(stretches) == 1 else torch.stack(stretches).sum(0)
    return counts.view(channels, LEVELS)


def _look_up_levels(frame: Tensor, levels: Tensor, out: Tensor, in_range: bool | None) -> None:
    """Write the entry of ``levels`` ``[C, LEVELS]`` at each pixel of ``frame`` ``[C, N]`` to ``out``."""
    entries = levels.flatten()
    entry = torch.empty(0, dtype=levels.dtype, device=frame.device)
    targets = _blocks(out, _interleaved(frame))
    for (pixels, level, finite), target in zip(_level_blocks(frame, torch.int32, in_range), targets, strict=True):
        if finite is None and target.is_contiguous() and target.dtype == entries.dtype:
            torch.index_select(entries, 0, level, out=target.view(-1))
            continue
        matched = torch.index_select(entries, 0, level, out=entry.resize_(level.shape))
        if finite is not None:
            matched = torch.where(finite, matched, nearest_end(pixels))
        target.copy_(matched.view(target.shape))


def _level_blocks(
    frame: Tensor, index_dtype: torch.dtype, in_range: bool | None
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Walk over ``frame`` ``[C, N]`` in the blocks of :func:`_blocks`.

    Yields:
        The block's pixels, flat; the 16-bit level of each plus ``LEVELS`` for each channel before it, valid until the next
        block; and which of them are finite, None if all are.
    """
    channels = frame.shape[0]
    interleaved = _interleaved(frame)
    in_range = is_in_range(frame[None, :, :, None]) if in_range is None else in_range
    shift = torch.arange(0, channels * LEVELS, LEVELS, dtype=torch.float32, device=frame.device) + 0.5
    offsets = torch.empty(0, device=frame.device)
    scaled = torch.empty(0, device=frame.device)
    level = torch.empty(0, dtype=index_dtype, device=frame.device)
    done = 0
    for block in _blocks(frame, interleaved):
        pixels = block.reshape(-1)
        if not interleaved:
            offsets = shift[done // frame.shape[1]].expand(1)
        elif offsets.shape != pixels.shape:
            offsets = offsets[: pixels.numel()] if offsets.numel() else shift.repeat(block.shape[0])
        if scaled.shape != pixels.shape:
            scaled, level = scaled.resize_(pixels.shape), level.resize_(pixels.shape)
        finite = None
        values = pixels
        if not in_range:
            mask = torch.isfinite(pixels)
            finite = None if mask.all() else mask
            values = torch.where(mask, pixels, 0).clamp_(0, 1)
        # One pass scales and rounds and moves each channel to levels of its own.
        torch.add(offsets, values, alpha=LEVELS - 1, out=scaled)
        yield pixels, level.copy_(scaled), finite
        done += pixels.numel()


def _blocks(rows: Tensor, interleaved: bool) -> Iterator[Tensor]:
    """Cut ``rows`` ``[C, N]`` into blocks, on the CPU small enough for its caches, in the order of memory.

    Yields:
        Interleaved: pixel after pixel, shape ``[n, C]``. Else channel after channel, shape ``[n]``.
    """
    step = block_size(rows.device)
    if interleaved:
        yield from rows.t().split(step)
    else:
        for row in rows:
            yield from row.split(step * rows.shape[0])


def soften(level_counts: Tensor, bins: int) -> Tensor:
    """Spread the counts of all levels, in the last dimension of the tensor, over so many soft bins."""
    counts = level_counts.to(precise_dtype(level_counts.device))
    if bins == LEVELS:
        return counts
    position = torch.arange(LEVELS, device=counts.device) * (bins - 1)
    cell = (position // (LEVELS - 1)).clamp_(max=bins - 2)
    part = (position - cell * (LEVELS - 1)).to(counts.dtype) / (LEVELS - 1)
    softened = torch.zeros(counts.shape[0], bins, dtype=counts.dtype, device=counts.device)
    softened.index_add_(1, cell, counts * (1 - part))
    softened.index_add_(1, cell + 1, counts * part)
    return softened


def _sharpen(table: Tensor) -> Tensor:
    """Evaluate a table at 16-bit levels: ``[C, bins]`` to ``[C, LEVELS]``."""
    if table.shape[-1] == LEVELS:
        return table
    table = table.to(precise_dtype(table.device))
    return torch.nn.functional.interpolate(table[None], size=LEVELS, mode="linear", align_corners=True)[0]


def weight_rows(image: Tensor, weights: Tensor) -> Tensor:
    """``weights`` in the shape of :func:`pixel_rows`, broadcast without a copy where that can be."""
    _check_floating("weights", weights)
    try:
        expanded = weights.expand(image.shape)
    except RuntimeError:
        raise ValueError(
            f"weights: expected a shape that broadcasts to image's {list(image.shape)}, got {list(weights.shape)}"
        ) from None
    lowest, highest = torch.aminmax(weights.detach())
    if not (lowest >= 0 and highest < float("inf")):
        raise ValueError(f"weights: expected finite numbers from 0 up, got {lowest.item()} to {highest.item()}")
    return pixel_rows(expanded)


def pixel_rows(image: Tensor) -> Tensor:
    """``[..., C, H, W]`` as ``[B, C, H * W]``, without a copy for contiguous and for channels-last memory."""
    return image.reshape(-1, image.shape[-3], image.shape[-2] * image.shape[-1])


class _Search:
    """Find the bin at which rows ``[..., bins]``, never falling and at most 1, reach a value.

    This is ``torch.searchsorted`` in less time than its binary search takes on 65536 bins. Values are cut into as many
    equal cells as there are bins, a table gives the first bin in each cell, and most values are reached there or within
    two bins; the others, in tails where a cell holds many bins, are searched for.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self._first: Tensor | None = None

    def __call__(self, wanted: Tensor) -> Tensor:
        """The first bin that reaches each of ``wanted`` ``[..., n]``, the last where none does."""
        bins = self._rows.shape[-1]
        rows = self._rows.expand(*wanted.shape[:-1], bins)
        if wanted.shape[-1] < LEVELS // 4 or bins < LEVELS or rows.dtype != torch.float64:
            return torch.searchsorted(rows.contiguous(), wanted.contiguous()).clamp_(max=bins - 1)
        if self._first is None:
            self._first = self._first_in_cells()
        first = self._first.expand(*wanted.shape[:-1], bins + 1)
        reached = first.gather(-1, (wanted * bins).long())
        for _ in range(2):
            reached += rows.gather(-1, reached) < wanted
        missed = rows.gather(-1, reached) < wanted
        for row, row_missed, row_wanted, row_reached in zip(
            *(table.reshape(-1, table.shape[-1]) for table in (rows, missed, wanted, reached)), strict=True
        ):
            left = row_missed.nonzero()[:, 0]
            row_reached[left] = torch.searchsorted(row, row_wanted[left])
        return reached

    def _first_in_cells(self) -> Tensor:
        bins = self._rows.shape[-1]
        rows = self._rows.reshape(-1, bins)
        row = torch.arange(rows.shape[0], dtype=torch.int32, device=rows.device)[:, None]
        cell = (rows * bins).int().add_(row * (bins + 1)).flatten()
        in_cell = torch.bincount(cell, minlength=rows.shape[0] * (bins + 1)).view(*self._rows.shape[:-1], bins + 1)
        return in_cell.cumsum(-1).sub_(in_cell)


def _interleaved(pixels: Tensor) -> bool:
    return pixels.shape[0] > 1 and pixels.stride(0) < pixels.stride(1)


def wants_gradient(*tensors: Tensor) -> bool:
    """Whether gradients are enabled and a tensor requires one."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def check_pair(image: Tensor, reference: Tensor) -> None:
    """Raise an error unless ``image`` is a batch ``[B, C, H, W]`` and ``reference`` goes with it, ``[1 or B, C, H', W']``."""
    check_pixels("image", image)
    check_pixels("reference", reference)
    if image.ndim != 4:
        raise ValueError(f"image: expected shape [B, C, H, W], got {list(image.shape)}")
    if reference.ndim != 4 or reference.shape[0] not in (1, image.shape[0]) or reference.shape[1] != image.shape[1]:
        raise ValueError(
            f"reference: expected shape [1 or {image.shape[0]}, {image.shape[1]}, H, W] to go with an image of "
            f"{list(image.shape)}, got {list(reference.shape)}"
        )


def check_count(name: str, count: int, least: int) -> None:
    """Raise an error unless ``count`` is an int, and ``least`` or more."""
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name}: expected an int, got {type(count).__name__}")
    if count < least:
        raise ValueError(f"{name}: expected {least} or more, got {count}")


def check_bins(bins: int) -> None:
    """Raise an error unless ``bins`` is a number of bins."""
    if isinstance(bins, bool) or not isinstance(bins, int):
        raise TypeError(f"bins: expected an int, got {type(bins).__name__}")
    if not 2 <= bins <= LEVELS:
        raise ValueError(f"bins: expected 2 to {LEVELS}, got {bins}")


def check_pixels(name: str, image: Tensor) -> None:
    """Raise an error unless ``image`` is floating point, of shape ``[..., C, H, W]`` with some pixels."""
    _check_floating(name, image)
    if image.ndim < 3 or image.numel() == 0:
        raise ValueError(f"{name}: expected shape [..., C, H, W] with no side of 0, got {list(image.shape)}")


def _check_rows(name: str, rows: Tensor) -> None:
    _check_floating(name, rows)
    if rows.ndim < 1 or rows.shape[-1] < 2:
        raise ValueError(f"{name}: expected shape [..., bins] with 2 bins or more, got {list(rows.shape)}")


def _check_floating(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name}: expected a floating-point tensor, got {tensor.dtype}")
