"""Histogram matching as a step of a data pipeline."""

from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor

from ..checks import check_bins, check_colors
from ..histogram_matching import apply_transfer, cumulative_distribution, histogram
from ..kernels.dtypes import cast
from ..kernels.levels import rebin, resample
from ..kernels.quantiles import quantile_function
from ..reference_histogram import ReferenceHistogram


class HistogramMatchingTransform:
    """Give each image the histogram of a random reference, blended in by a random factor.

    A callable for pipelines such as torchvision's ``v2.Compose``, or with ``image=`` for those that call their steps by name,
    as Albumentations does. Random numbers are torch's: each worker of a ``DataLoader`` has its own, and ``torch.manual_seed``
    repeats them. It can be pickled. References are kept as histograms.

    Args:
        references: tensors ``[C, H, W]`` as images are, or :class:`ReferenceHistogram`, or a batch ``[R, C, H, W]``; C is that
            of the images, or 1 for one that serves every channel.
        factor: how much of the match is blended in, 0 to 1; or the least and the greatest, drawn evenly for each image.
        bins: of histograms and transfer functions, 2 to 65536. 256 is exact on 8-bit images.

    Raises:
        TypeError: an argument is of another type.
        ValueError: there is no reference, one has another shape or a channel without finite values, channels differ, or a
            number is out of range.

    >>> transform = HistogramMatchingTransform(torch.rand(5, 3, 16, 16), factor=(0.5, 1))
    >>> transform(torch.zeros(3, 8, 8, dtype=torch.uint8)).dtype
    torch.uint8
    """

    def __init__(
        self,
        references: Sequence[Tensor | ReferenceHistogram] | Tensor,
        factor: float | tuple[float, float] = (0.0, 1.0),
        bins: int = 256,
    ) -> None:
        check_bins(bins)
        self.bins = bins
        self.factor = _checked_range(factor)
        if isinstance(references, Tensor) and references.ndim != 4:
            raise ValueError(f"references: expected shape [R, C, H, W] or a list, got {list(references.shape)}")
        self._distributions = [_distribution(reference, index, bins) for index, reference in enumerate(references)]
        if not self._distributions:
            raise ValueError("references: expected at least one, got none")
        self._channels = {len(cdf) for cdf in self._distributions} - {1}
        if len(self._channels) > 1:
            raise ValueError(f"references: expected one number of channels, or 1, got {sorted(self._channels)}")

    @overload
    def __call__(self, image: Tensor, /) -> Tensor: ...

    @overload
    def __call__(self, *, image: Tensor, **others: Any) -> dict[str, Any]: ...

    def __call__(self, *positional: Tensor, **named: Any) -> Tensor | dict[str, Any]:
        """Match an image, or each image of a batch to a reference and by a factor of its own.

        Args:
            positional: the image: uint8, or floating point with values in [0, 1], shape ``[C, H, W]`` or ``[B, C, H, W]``.
            named: or the same as ``image``, together with whatever else the pipeline passes on.

        Returns:
            The image's shape, dtype, device and class; by name, a dict with that in place of ``image``. Values that are not
            finite do not count; NaN becomes 0 and an infinity the nearest end.

        Raises:
            TypeError: the image is neither, or given in another way.
            ValueError: its shape is another, or its number of channels does not go with the references.
        """
        if len(positional) == 1 and not named:
            return self._match(positional[0])
        if not positional and "image" in named:
            return {**named, "image": self._match(named["image"])}
        raise TypeError(f"image: expected one, or image= by name, got {len(positional)} and the names {list(named)}")

    def __len__(self) -> int:
        """The number of references."""
        return len(self._distributions)

    def __repr__(self) -> str:
        low, high = self.factor
        return f"{type(self).__name__}({len(self)} references, factor=({low}, {high}), bins={self.bins})"

    @torch.no_grad()
    def _match(self, image: Tensor) -> Tensor:
        plain = _plain("image", image)
        if plain.ndim not in (3, 4):
            raise ValueError(f"image: expected shape [C, H, W] or [B, C, H, W], got {list(image.shape)}")
        if not self._channels <= {plain.shape[-3]}:
            raise ValueError(f"image: expected {max(self._channels)} channels to go with the references, got {plain.shape[-3]}")
        matched = torch.stack([self._match_one(one) for one in plain.reshape(-1, *plain.shape[-3:])]).reshape(image.shape)
        # Pipelines tell images from other tensors by their class.
        return matched.as_subclass(type(image))

    def _match_one(self, pixels: Tensor) -> Tensor:
        if pixels.dtype != torch.uint8:
            return apply_transfer(pixels, self._random_table(histogram(pixels, self.bins)))
        # All that is done to 256 values is done to 256 values, not to all pixels.
        index = [channel.flatten().long() for channel in pixels]
        counts = torch.stack([torch.bincount(channel, minlength=256) for channel in index])
        table = self._random_table(rebin(counts, self.bins))
        values = resample(table, 256).mul_(255).round_().to(torch.uint8)
        return torch.stack([row[channel] for row, channel in zip(values, index, strict=True)]).reshape(pixels.shape)

    def _random_table(self, counts: Tensor) -> Tensor:
        """The transfer function from a histogram ``[C, bins]`` to a random reference, blended by a random factor."""
        cdf = self._distributions[int(torch.randint(len(self._distributions), ()))]
        low, high = self.factor
        factor = low + (high - low) * float(torch.rand(()))
        source_cdf = cumulative_distribution(counts)
        table = quantile_function(cast(cdf, source_cdf), source_cdf)
        # Blending the table is blending the image.
        return torch.lerp(cast(torch.linspace(0, 1, self.bins), table), table, factor)


def _distribution(reference: Tensor | ReferenceHistogram, index: int, bins: int) -> Tensor:
    """The cumulative distribution ``[C, bins]`` of a reference."""
    if isinstance(reference, ReferenceHistogram):
        counts = rebin(reference.counts, bins)
    else:
        pixels = _plain(f"references[{index}]", reference)
        if pixels.ndim != 3:
            raise ValueError(f"references[{index}]: expected shape [C, H, W], got {list(pixels.shape)}")
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.detach()
        counts = histogram(pixels, bins).cpu()
    if not counts.any(dim=1).all():
        raise ValueError(f"references[{index}]: expected finite values in each channel, got a channel with none")
    return cumulative_distribution(counts)


def _plain(name: str, image: Tensor) -> Tensor:
    """An image as a tensor of no other class, checked."""
    if not isinstance(image, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(image).__name__}")
    plain = image.as_subclass(Tensor)
    if plain.dtype != torch.uint8 and not plain.is_floating_point():
        raise TypeError(f"{name}: expected uint8 or floating-point values, got {image.dtype}")
    if plain.ndim < 3 or plain.numel() == 0:
        raise ValueError(f"{name}: expected shape [C, H, W] with no side of 0, got {list(image.shape)}")
    check_colors(name, plain)
    return plain


def _checked_range(factor: float | tuple[float, float]) -> tuple[float, float]:
    """The least and the greatest factor."""
    ends = factor if isinstance(factor, (tuple, list)) else (factor, factor)
    if len(ends) != 2 or not all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in ends):
        raise TypeError(f"factor: expected a number or two, got {factor!r}")
    low, high = (float(end) for end in ends)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"factor: expected 0 to 1, the least first, got {factor!r}")
    return low, high
