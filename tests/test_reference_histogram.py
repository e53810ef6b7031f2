"""Many pictures as one reference: pooled, added, kept in a file."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_histogram_match import METHODS, ReferenceHistogram, match_images
from comfyui_histogram_match.clip.frames import Clip, Frame, Reference
from comfyui_histogram_match.clip.run import match_clip
from comfyui_histogram_match.clip.settings import MatchSettings
from measures import wasserstein_1
from photos import photo

CPU = torch.device("cpu")
IMAGE = photo("chelsea")[:, ::2, ::2]
LOOKS = torch.cat([photo(name)[:, :300, :400] for name in ("coffee", "astronaut", "stereo_motorcycle")])


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.aligned])
def test_it_serves_as_the_pictures_do_pooled(method: str) -> None:
    kept = match_images(IMAGE, ReferenceHistogram.of(LOOKS), method)
    pooled = match_images(IMAGE, LOOKS, method, reference_stats="pooled")
    if method in ("pytorch", "nearest", "exact", "skimage"):
        torch.testing.assert_close(kept, pooled, rtol=0, atol=1e-6)
    else:
        # Served from a sample of a third of the colors.
        assert float(wasserstein_1(kept, pooled).max()) <= 0.5 / 255
        assert float((kept - pooled).abs().mean()) <= 1 / 255


@pytest.mark.parametrize("color_space", ["luminance", "lab", "oklab", "ycbcr"])
def test_it_serves_every_color_space(color_space: str) -> None:
    kept = match_images(IMAGE, ReferenceHistogram.of(LOOKS), color_space=color_space)
    pooled = match_images(IMAGE, LOOKS, color_space=color_space, reference_stats="pooled")
    assert float((kept - pooled).abs().mean()) <= 1 / 255


@pytest.mark.parametrize("mode", ["uniform", "smoothed"])
@pytest.mark.parametrize("method", ["pytorch", "hm-mkl-hm", "sliced"])
def test_it_serves_clips(mode: str, method: str) -> None:
    clip = torch.cat([IMAGE, IMAGE * 0.8, IMAGE * 0.7])[:, ::2, ::2]
    reference = ReferenceHistogram.of(LOOKS)
    matched = match_images(clip, reference, method, source_stats=mode, reference_stats="pooled")
    assert torch.equal(matched, match_images(clip, reference, method, source_stats=mode))
    assert bool(matched.isfinite().all())


def test_it_stays_as_it_is() -> None:
    reference = ReferenceHistogram.of(LOOKS)
    before = reference.counts.clone(), reference.sample.weights.clone()
    kept = reference.as_reference("kept")
    references = [kept, Reference(LOOKS[0].movedim(-1, 0), "picture"), kept]
    frame = Frame(IMAGE[0].movedim(-1, 0), torch.empty_like(IMAGE[0]).movedim(-1, 0))
    run = match_clip(Clip(lambda: [frame], lambda: references, None), MatchSettings(reference_stats="pooled"), CPU)
    (matched,) = [result.frame.out.movedim(0, -1)[None] for result in run]
    assert torch.equal(reference.counts, before[0])
    assert torch.equal(reference.sample.weights, before[1])
    expected = match_images(IMAGE, torch.cat([LOOKS, LOOKS[:1], LOOKS]), reference_stats="pooled")
    torch.testing.assert_close(matched, expected, rtol=0, atol=1e-6)


def test_a_small_mask_counts() -> None:
    mask = torch.zeros(3, 300, 400)
    mask[:, 101:104, 203:205] = 1
    reference = ReferenceHistogram.of(LOOKS, mask)
    assert float(reference.sample.weights.sum()) == 18
    assert torch.equal(reference.counts.sum(1), torch.full((3,), 18.0, dtype=torch.float64))


def test_sets_add() -> None:
    parts = [ReferenceHistogram.of(look[None]) for look in LOOKS]
    together = parts[0] + parts[1] + parts[2]
    assert together.pictures == 3
    assert torch.equal(together.counts, ReferenceHistogram.of(LOOKS).counts)
    assert float(together.sample.weights.sum()) == pytest.approx(3 * 300 * 400, rel=1e-4)
    large = sum((ReferenceHistogram.of(torch.rand(1, 700, 700, 3)) for _ in range(4)), together)
    assert large.sample.weights.numel() <= 2**17
    assert float(large.sample.weights.sum()) == pytest.approx(float(large.counts[0].sum()), rel=1e-3)


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    reference = ReferenceHistogram.of(LOOKS)
    reference.save(tmp_path / "look.npz")
    loaded = ReferenceHistogram.load(tmp_path / "look.npz")
    assert loaded.pictures == 3
    assert torch.equal(loaded.counts, reference.counts)
    assert torch.equal(loaded.sample.colors, reference.sample.colors)
    assert torch.equal(loaded.sample.weights, reference.sample.weights)
    assert [path.name for path in tmp_path.iterdir()] == ["look.npz"]
    assert (tmp_path / "look.npz").stat().st_size <= 2_000_000
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "look.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "look.npz"
    ReferenceHistogram.of(LOOKS[:1]).save(path)
    before = path.read_bytes()

    def fail(file: Any, **_: object) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        ReferenceHistogram.of(LOOKS).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["look.npz"]


def test_gray_alpha_masks_and_what_is_not_finite() -> None:
    gray = photo("camera")
    assert torch.equal(ReferenceHistogram.of(gray).counts, ReferenceHistogram.of(gray.expand(-1, -1, -1, 3)).counts)
    alpha = torch.cat([LOOKS, torch.rand(3, 300, 400, 1)], dim=-1)
    assert torch.equal(ReferenceHistogram.of(alpha).counts, ReferenceHistogram.of(LOOKS).counts)
    mask = torch.zeros(1, 300, 400)
    mask[:, :100] = 1
    masked = ReferenceHistogram.of(LOOKS, mask)
    assert torch.equal(masked.counts, ReferenceHistogram.of(LOOKS[:, :100]).counts)
    assert masked.sample.weights.numel() == 3 * 100 * 400
    broken = LOOKS.clone()
    broken[0, 5, 5, 1] = float("nan")
    assert float(ReferenceHistogram.of(broken).counts[0].sum()) == 3 * 300 * 400 - 1


@pytest.mark.parametrize(
    ("image", "mask", "error", "message"),
    [
        ([1], None, TypeError, "images: expected a torch.Tensor, got list"),
        (torch.rand(4, 4, 3), None, ValueError, r"images: expected shape \[B, H, W, C\]"),
        (torch.full((1, 4, 4, 3), float("nan")), None, ValueError, "images: expected finite pixels that count, got none"),
        (torch.rand(1, 4, 4, 3), torch.zeros(1, 4, 4), ValueError, "mask: expected pixels that count, got 0 throughout; paint"),
        (torch.rand(1, 4, 4, 3), torch.zeros(4, 4), ValueError, r"mask: expected shape \[1 or 1, H, W\]"),
    ],
)
def test_a_bad_argument_is_named(image: Any, mask: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ReferenceHistogram.of(image, mask)


def test_a_gray_image_gets_its_brightness() -> None:
    brightness = (LOOKS * torch.tensor([0.2126, 0.7152, 0.0722])).sum(-1, keepdim=True)
    expected = match_images(IMAGE[..., :1], brightness, reference_stats="pooled")
    # Of the brightness there is a sample.
    assert float((match_images(IMAGE[..., :1], ReferenceHistogram.of(LOOKS)) - expected).abs().mean()) < 0.5 / 255


def test_progress_and_an_interrupt() -> None:
    steps: list[tuple[int, int]] = []
    ReferenceHistogram.of(LOOKS, progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]

    def interrupt(done: int, total: int) -> None:
        raise InterruptedError(f"{done} of {total}")

    with pytest.raises(InterruptedError, match="1 of 3"):
        ReferenceHistogram.of(LOOKS, progress=interrupt)


def test_a_black_mask_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="mask: expected pixels that count, got 0 throughout; paint where to measure"):
        ReferenceHistogram.of(LOOKS, torch.zeros(1, 300, 400))


def test_it_needs_no_mask() -> None:
    reference = ReferenceHistogram.of(LOOKS)
    with pytest.raises(ValueError, match="reference_mask: expected None with a ReferenceHistogram"):
        match_images(IMAGE, reference, reference_mask=torch.ones(1, 4, 4))


def replace_member(path: Path, name: str, content: bytes) -> None:
    """Put something else in the place of an array."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, value in {**members, name: content}.items():
            archive.writestr(member, value)


@pytest.mark.parametrize(
    "content",
    ["nothing", "text", "half", "damaged", "other", "shape", "negative", "pickle", "terabytes", "unpacked", "long type"],
)
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "look.npz"
    ReferenceHistogram.of(LOOKS[:1]).save(path)
    whole = path.read_bytes()
    with np.load(path) as arrays:
        good = dict(arrays)
    if content == "nothing":
        path.write_bytes(b"")
    elif content == "text":
        path.write_text("a look")
    elif content == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "damaged":
        path.write_bytes(whole[:3000] + bytes(2000) + whole[5000:])
    elif content == "other":
        np.savez(path, counts=good["counts"])
    elif content == "shape":
        np.savez(path, **{**good, "counts": good["counts"][:2]})
    elif content == "negative":
        np.savez(path, **{**good, "weights": -good["weights"]})
    elif content == "terabytes":
        # A header is believed by nobody who has not looked whether the array fits.
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"shape": (3, 10**12), "fortran_order": False, "descr": "<f4"})
        replace_member(path, "colors.npy", buffer.getvalue())
    elif content == "unpacked":
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"shape": (3, 1 << 23), "fortran_order": False, "descr": "<f4"})
        replace_member(path, "colors.npy", buffer.getvalue() + bytes(3 << 25))
    elif content == "long type":
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"shape": (), "fortran_order": False, "descr": "<U1000000000"})
        replace_member(path, "format.npy", buffer.getvalue())
    else:
        path.write_bytes(b"\x80\x04N.")
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"look\.npz: expected"):
        ReferenceHistogram.load(path)
    # numpy's memory is counted, too.
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    reference = ReferenceHistogram.of(LOOKS[:1])
    reference.save(tmp_path / "not" / "yet" / "look.npz")
    assert torch.equal(ReferenceHistogram.load(tmp_path / "not" / "yet" / "look.npz").counts, reference.counts)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ReferenceHistogram.load(tmp_path / "none.npz")
