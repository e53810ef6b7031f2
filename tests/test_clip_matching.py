"""``match_images`` on clips: whose histogram decides, masks, several references, several frames at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
import torch
from clips import crossing
from comfyui_histogram_match import histogram, match_images
from comfyui_histogram_match.clip import statistics
from comfyui_histogram_match.clip.frames import Clip, Frame, Reference
from comfyui_histogram_match.clip.matcher import Matcher
from comfyui_histogram_match.clip.run import match_clip
from comfyui_histogram_match.clip.settings import SOURCE_STATS, MatchSettings
from comfyui_histogram_match.kernels import levels, workers
from comfyui_histogram_match.methods import channels
from comfyui_histogram_match.methods.table import METHODS
from measures import wasserstein_1
from photos import at_size_of, continuous_photo, counterpart, photo
from torch import Tensor

CLIP = crossing(6, 40, 60).frames
LOOK = photo("coffee")[:, :50, :70]
NAN = float("nan")
# Methods to which the place of a pixel in the picture is nothing.
BY_DISTRIBUTION = [name for name in METHODS if not METHODS[name].aligned]
# What is left when the same sums are added in another order. A table at 16 bits can be steep at its ends.
ROUNDING = dict.fromkeys(METHODS, 5e-5) | dict.fromkeys(("pytorch", "skimage", "nearest"), 1e-6)
ROUNDING |= dict.fromkeys(("hm-mkl-hm", "hm-mvgd-hm"), 0.02)
# Of a smaller picture, smaller cells are measured.
ROUNDING |= dict.fromkeys((name for name in METHODS if METHODS[name].aligned), 0.5 / 255)


def side_by_side(frames: Tensor) -> Tensor:
    """All frames as one picture, [1, H, B * W, C]."""
    return torch.cat(list(frames), dim=1)[None]


class TestSourceStats:
    def test_uniform_matches_all_frames_as_one_picture(self) -> None:
        matched = match_images(CLIP, LOOK, source_stats="uniform")
        assert torch.equal(side_by_side(matched), match_images(side_by_side(CLIP), LOOK))

    @pytest.mark.parametrize("index", [0, 3, 5])
    def test_target_frame_decides_for_all(self, index: int) -> None:
        matched = match_images(CLIP, LOOK, source_stats="target_frame", target_index=index)
        assert torch.equal(matched[index], match_images(CLIP[index : index + 1], LOOK)[0])
        # Everywhere the same function: pixels that are alike stay alike.
        assert torch.equal(matched[:, :20], matched[:1, :20].expand(6, -1, -1, -1))

    def test_smoothed_with_a_window_of_one_is_per_frame(self) -> None:
        assert torch.equal(match_images(CLIP, LOOK, source_stats="smoothed", window=1), match_images(CLIP, LOOK))

    def test_smoothed_begins_with_the_first_frame_s_own(self) -> None:
        clip = crossing(24, 40, 60).frames
        matched, per_frame = match_images(clip, LOOK, source_stats="smoothed"), match_images(clip, LOOK)
        assert torch.equal(matched[0], per_frame[0])
        assert not torch.equal(matched[12], per_frame[12])

    @pytest.mark.parametrize("mode", SOURCE_STATS)
    def test_a_single_picture_is_matched_alike_in_every_mode(self, mode: str) -> None:
        image = continuous_photo("chelsea")
        assert torch.equal(match_images(image, LOOK, source_stats=mode), match_images(image, LOOK))

    @pytest.mark.parametrize("mode", SOURCE_STATS)
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
    def test_shape_and_dtype_come_out_again(self, mode: str, dtype: torch.dtype) -> None:
        clip = torch.cat([CLIP, torch.rand(6, 40, 60, 1)], dim=-1).to(dtype)
        matched = match_images(clip, LOOK, factor=0.5, source_stats=mode)
        assert matched.dtype == dtype
        assert torch.equal(matched[..., 3], clip[..., 3])

    @pytest.mark.parametrize("mode", SOURCE_STATS)
    def test_nan_in_any_frame_is_left_out_and_reported(self, mode: str) -> None:
        clip = CLIP.clone()
        clip[4, 5, 5] = NAN
        with pytest.warns(RuntimeWarning, match="image: left out 3 NaN or infinite values"):
            matched = match_images(clip, LOOK, source_stats=mode)
        assert bool(matched.isfinite().all())
        assert torch.equal(matched[4, 5, 5], torch.zeros(3))

    @pytest.mark.parametrize("mode", SOURCE_STATS)
    @pytest.mark.parametrize("stats", ["paired", "pooled"])
    def test_nan_in_a_reference_is_reported_once(self, mode: str, stats: str) -> None:
        look = torch.cat([LOOK, LOOK])
        look[0, 5, 5] = NAN
        with pytest.warns(RuntimeWarning, match="reference: left out 3 NaN or infinite values"):
            match_images(CLIP, look, source_stats=mode, reference_stats=stats)

    @pytest.mark.parametrize("mode", SOURCE_STATS)
    def test_gradients_reach_image_reference_and_mask(self, mode: str) -> None:
        clip, look, mask = (tensor.clone().requires_grad_() for tensor in (CLIP[:3], LOOK, torch.rand(3, 40, 60)))
        matched = match_images(clip, look, source_stats=mode, image_mask=mask)
        expected = match_images(CLIP[:3], LOOK, source_stats=mode, image_mask=mask.detach())
        assert float((matched - expected).abs().mean().detach()) <= 1e-4
        matched.square().mean().backward()
        for tensor in (clip, look, mask):
            assert tensor.grad is not None
            assert bool(tensor.grad.isfinite().all())
            assert bool(tensor.grad.any())


class TestReferences:
    def test_paired_references_go_one_to_a_frame(self) -> None:
        looks = torch.cat([LOOK, 1 - LOOK, LOOK / 2])
        matched = match_images(CLIP, looks)
        for index in range(6):
            chosen = looks[min(index, 2)][None]
            assert torch.equal(matched[index], match_images(CLIP[index][None], chosen)[0])

    def test_paired_references_with_one_source_histogram(self) -> None:
        matched = match_images(CLIP, torch.cat([LOOK, LOOK / 2]), source_stats="uniform")
        assert torch.equal(matched[0], match_images(CLIP, LOOK, source_stats="uniform")[0])
        assert torch.equal(matched[1:], match_images(CLIP, LOOK / 2, source_stats="uniform")[1:])

    @pytest.mark.parametrize("method", BY_DISTRIBUTION)
    def test_pooled_references_are_one_picture(self, method: str) -> None:
        looks = torch.cat([LOOK, 1 - LOOK, LOOK / 2])
        matched = match_images(CLIP, looks, method, reference_stats="pooled")
        together = match_images(CLIP, side_by_side(looks), method)
        torch.testing.assert_close(matched, together, rtol=0, atol=ROUNDING[method])

    def test_all_pooled_references_count_though_there_are_more_than_frames(self) -> None:
        looks = torch.cat([LOOK, 1 - LOOK])
        matched = match_images(CLIP[:1], looks, reference_stats="pooled")
        assert torch.equal(matched, match_images(CLIP[:1], side_by_side(looks)))


class TestMasks:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("factor", [1.0, 0.4])
    def test_outside_of_the_mask_nothing_changes_bit_for_bit(self, method: str, factor: float) -> None:
        image = torch.rand(2, 9, 8, 3) * 1.4 - 0.2
        image[0, 0, 0] = torch.tensor([NAN, float("inf"), -float("inf")])
        image[1, 8, 7] = NAN
        mask = torch.zeros(2, 9, 8)
        mask[:, 3:6, 2:7] = torch.rand(2, 3, 5)
        with pytest.warns(RuntimeWarning, match="left out 6"):
            matched = match_images(image, at_size_of(method, image, LOOK), method, factor, image_mask=mask)
        outside = mask == 0
        assert torch.equal(matched[outside].view(torch.int32), image[outside].view(torch.int32))
        assert not torch.equal(matched[~outside], image[~outside])

    @pytest.mark.parametrize("method", METHODS)
    def test_a_region_is_matched_as_if_it_were_cropped(self, method: str) -> None:
        image = continuous_photo("astronaut")
        look = counterpart(method, image, continuous_photo("coffee"))
        masks = [torch.zeros(1, *picture.shape[1:3]) for picture in (image, look)]
        masks[0][:, 100:300, 50:450] = 1
        there = (slice(100, 300), slice(50, 450)) if METHODS[method].aligned else (slice(20, 220), slice(100, 300))
        masks[1][:, there[0], there[1]] = 1
        matched = match_images(image, look, method, image_mask=masks[0], reference_mask=masks[1])
        expected = match_images(image[:, 100:300, 50:450], look[:, there[0], there[1]], method)
        matched = matched[:, 100:300, 50:450]
        if method in ("exact", "sliced"):
            # What is around a pixel decides as well: the same values, but not all at the same places.
            assert float(wasserstein_1(matched, expected).max()) <= {"exact": 1e-6, "sliced": 0.5 / 255}[method]
        else:
            torch.testing.assert_close(matched, expected, rtol=0, atol=ROUNDING[method])

    @pytest.mark.parametrize("method", [name for name in BY_DISTRIBUTION if name not in ("exact", "sliced")])
    def test_fractional_weights_count_fractionally(self, method: str) -> None:
        look = (torch.rand(1, 8, 8, 3) * 255).round() / 255
        image = (torch.rand(1, 8, 8, 3) * 255).round() / 255
        mask = torch.ones(1, 8, 8)
        mask[:, :4] = 0.25
        # A pixel of a quarter's weight beside one of full weight is a pixel beside four.
        repeated = torch.cat([look[:, :4], *repeat(look[:, 4:], 4)], dim=1)
        matched = match_images(image, look, method, reference_mask=mask)
        torch.testing.assert_close(matched, match_images(image, repeated, method), rtol=0, atol=ROUNDING[method])
        matched = match_images(image, look, method, image_mask=mask)
        repeated = match_images(torch.cat([image[:, :4], *repeat(image[:, 4:], 4)], dim=1), look, method)
        torch.testing.assert_close(matched[:, 4:], repeated[:, 4:8], rtol=0, atol=ROUNDING[method])
        blended = 0.25 * repeated[:, :4] + 0.75 * image[:, :4]
        torch.testing.assert_close(matched[:, :4], blended, rtol=0, atol=ROUNDING[method])

    @pytest.mark.parametrize("mode", SOURCE_STATS)
    def test_a_mask_of_ones_changes_nothing(self, mode: str) -> None:
        matched = match_images(CLIP, LOOK, factor=0.7, source_stats=mode, image_mask=torch.ones(1, 40, 60))
        torch.testing.assert_close(matched, match_images(CLIP, LOOK, factor=0.7, source_stats=mode), rtol=0, atol=1e-6)

    def test_uniform_pools_what_the_masks_show(self) -> None:
        mask = torch.zeros(6, 40, 60)
        mask[:, :, :30] = 1
        matched = match_images(CLIP, LOOK, source_stats="uniform", image_mask=mask)
        expected = match_images(CLIP[:, :, :30], LOOK, source_stats="uniform")
        torch.testing.assert_close(matched[:, :, :30], expected, rtol=0, atol=1e-6)
        assert torch.equal(matched[:, :, 30:], CLIP[:, :, 30:])

    def test_other_sizes_are_resized_bilinearly(self) -> None:
        mask = torch.rand(6, 10, 12)
        resized = torch.nn.functional.interpolate(mask[:, None], size=(40, 60), mode="bilinear")[:, 0]
        assert torch.equal(match_images(CLIP, LOOK, image_mask=mask), match_images(CLIP, LOOK, image_mask=resized))

    def test_values_outside_of_0_to_1_are_the_nearest_end(self) -> None:
        mask = torch.rand(1, 40, 60) * 3 - 1
        clamped = mask.clamp(0, 1)
        assert torch.equal(match_images(CLIP, LOOK, image_mask=mask), match_images(CLIP, LOOK, image_mask=clamped))

    @pytest.mark.parametrize("mode", [*SOURCE_STATS, "skimage"])
    def test_a_frame_whose_mask_is_0_throughout_stays_with_a_warning(self, mode: str) -> None:
        options: dict[str, Any] = {"method": "skimage"} if mode == "skimage" else {"source_stats": mode}
        mask = torch.ones(6, 40, 60)
        mask[2] = 0
        with pytest.warns(RuntimeWarning, match="mask: 0 throughout for 1 frames, which are left as they are"):
            matched = match_images(CLIP, LOOK, image_mask=mask, **options)
        assert torch.equal(matched[2], CLIP[2])
        assert not torch.equal(matched[3], CLIP[3])

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("stats", ["paired", "pooled"])
    def test_a_reference_whose_mask_is_0_throughout(self, method: str, stats: str) -> None:
        look = counterpart(method, CLIP, LOOK)
        looks, mask = torch.cat([1 - look, look]), torch.ones(2, *look.shape[1:3])
        mask[0] = 0
        options: dict[str, Any] = {"reference_mask": mask, "reference_stats": stats}
        if stats == "pooled" and METHODS[method].aligned:
            with pytest.raises(ValueError, match=f"reference_stats: expected paired with {method}, which compares each"):
                match_images(CLIP, looks, method, **options)
            return
        if stats == "pooled":
            assert torch.equal(match_images(CLIP, looks, method, **options), match_images(CLIP, look, method))
        else:
            with pytest.warns(RuntimeWarning, match="mask: 0 throughout for 1 frames"):
                matched = match_images(CLIP, looks, method, **options)
            assert torch.equal(matched[0], CLIP[0])
            assert torch.equal(matched[1:], match_images(CLIP[1:], look, method))
        with pytest.warns(RuntimeWarning, match="mask: 0 throughout for 6 frames"):
            assert torch.equal(match_images(CLIP, looks, method, **{**options, "reference_mask": mask * 0}), CLIP)

    def test_the_target_frame_needs_pixels(self) -> None:
        mask = torch.ones(6, 40, 60)
        mask[2] = 0
        with pytest.raises(ValueError, match="target_index: expected a frame with pixels to measure, got 2 with none"):
            match_images(CLIP, LOOK, source_stats="target_frame", target_index=2, image_mask=mask)


class TestLength:
    def test_the_pooled_count_of_40_million_equal_pixels_is_exact(self, monkeypatch: pytest.MonkeyPatch) -> None:
        totals = []

        def keep(counts: Tensor) -> Tensor:
            totals.append(counts)
            return counts

        monkeypatch.setattr(channels, "cumulative_distribution", keep)
        # As on devices that have no float64.
        monkeypatch.setattr(levels, "precise_dtype", lambda device: torch.float32)
        frame = Frame(torch.full((1, 1000, 1000), 0.25), torch.empty(1, 1000, 1000))
        first = replace(frame, reference=Reference(torch.rand(1, 4, 4), "reference"))
        clip = Clip(lambda: [first], list, None, lambda: chain([first], repeat(frame, 39)))
        assert sum(1 for _ in match_clip(clip, MatchSettings(source_stats="uniform"), torch.device("cpu"))) == 1
        (counts,) = [total for total in totals if total.sum() > 16]
        assert counts[0, 16384].item() == 40_000_000
        assert counts.sum().item() == 40_000_000

    def test_a_single_count_of_40_million_equal_pixels_is_exact(self) -> None:
        counts = histogram(torch.full((1, 1, 1), 0.25).expand(1, 5000, 8000), 65536)
        assert counts[0, 16384].item() == 40_000_000

    def test_no_more_frames_are_held_than_threads_work_on(self) -> None:
        taken = 0

        def frames() -> Iterator[Frame]:
            nonlocal taken
            for pixels in CLIP.repeat(5, 1, 1, 1).movedim(-1, 1):
                taken += 1
                yield Frame(pixels, pixels.clone(), Reference(LOOK[0].movedim(-1, 0), "reference"))

        ahead = []
        clip = Clip(frames, list, None)
        for done, _ in enumerate(match_clip(clip, MatchSettings(), torch.device("cpu")), start=1):
            ahead.append(taken - done)
        assert taken == 30
        assert max(ahead) <= 2 * torch.get_num_threads()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("mode", SOURCE_STATS)
    def test_several_frames_at_a_time_give_the_same(self, method: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
        mode = "per_frame" if METHODS[method].per_frame_only else mode
        look = counterpart(method, CLIP, LOOK)
        looks = torch.cat([look, 1 - look])
        names = []
        match = Matcher.match

        def named(*arguments: Any) -> Any:
            names.append(threading.current_thread().name)
            return match(*arguments)

        monkeypatch.setattr(Matcher, "match", named)
        matched = match_images(CLIP, looks, method, source_stats=mode)
        assert all(name.startswith("histogram-match-frames") for name in names)
        monkeypatch.setattr(workers, "_MOST_THREADS", 1)
        names.clear()
        assert torch.equal(matched, match_images(CLIP, looks, method, source_stats=mode))
        assert len(set(names)) == 1

    @pytest.mark.parametrize("together", [True, False])
    def test_each_thread_works_with_one_thread_of_torch(self, together: bool) -> None:
        def threads(_frame: int) -> set[int]:
            return {torch.get_num_threads(), *workers.spread(lambda _stripe: torch.get_num_threads(), range(9))}

        assert set().union(*workers.map_frames(threads, range(20), together=together)) == {1}

    def test_what_goes_wrong_in_a_thread_is_raised_and_the_others_end(self) -> None:
        done = []

        def fail(number: int) -> None:
            if number == 3:
                raise KeyError("three")
            done.append(number)

        with pytest.raises(KeyError, match="three"):
            list(workers.map_frames(fail, range(1000), together=True))
        assert len(done) <= 3 + 2 * torch.get_num_threads()

    @pytest.mark.parametrize("method", ["mkl", "hm-mkl-hm"])
    def test_pooled_with_frames_in_which_pixels_are_missing(self, method: str) -> None:
        clip = CLIP.clone()
        clip[1, :4] = torch.nan
        with pytest.warns(RuntimeWarning, match="left out"):
            matched = match_images(clip, LOOK, method, source_stats="uniform")
        # As if the pixels were not there: a mask without them, on a clip that has something else there.
        mask = torch.ones(CLIP.shape[:3])
        mask[1, :4] = 0
        expected = match_images(CLIP, LOOK, method, source_stats="uniform", image_mask=mask)
        torch.testing.assert_close(matched[0], expected[0], rtol=0, atol=2e-4)
        torch.testing.assert_close(matched[1, 4:], expected[1, 4:], rtol=0, atol=2e-4)

    @pytest.mark.parametrize("method", ["pytorch", "mkl"])
    def test_too_many_pixels_for_whole_numbers(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        mask = torch.full(CLIP.shape[:3], 0.5)
        match_images(CLIP, LOOK, method, source_stats="uniform", image_mask=mask)
        monkeypatch.setattr(statistics, "_LARGEST", 1 << 20)
        with pytest.raises(ValueError, match=r"expected fewer than 2\^42 pixels"):
            match_images(CLIP, LOOK, method, source_stats="uniform", image_mask=mask)

    def test_torch_keeps_its_threads(self) -> None:
        before = torch.get_num_threads()
        match_images(CLIP, LOOK)
        assert torch.get_num_threads() == before
        found = []
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert found == [before]

    def test_inference_mode_reaches_the_threads(self) -> None:
        with torch.inference_mode():
            matched = match_images(CLIP, LOOK)
        assert matched.is_inference()
        assert torch.equal(matched, match_images(CLIP, LOOK))

    @pytest.mark.parametrize(
        ("options", "first_pass"),
        [
            ({}, 0),
            ({"source_stats": "uniform"}, 6),
            ({"source_stats": "target_frame"}, 1),
            ({"source_stats": "smoothed"}, 1),
            ({"reference_stats": "pooled"}, 2),
            ({"source_stats": "uniform", "reference_stats": "pooled"}, 8),
        ],
    )
    def test_progress_covers_both_passes(self, options: dict[str, Any], first_pass: int) -> None:
        steps: list[tuple[int, int]] = []
        match_images(CLIP, torch.cat([LOOK, LOOK]), progress=lambda done, total: steps.append((done, total)), **options)
        assert steps == [(done, first_pass + 6) for done in range(1, first_pass + 7)]

    @pytest.mark.parametrize("mode", SOURCE_STATS)
    def test_what_progress_raises_ends_the_run_and_what_threads_work_on(
        self, mode: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps, begun, ended = [], [], []
        picture = Matcher._picture

        def counted(*arguments: Any, **named: Any) -> Any:
            begun.append(None)
            made = picture(*arguments, **named)
            ended.append(None)
            return made

        monkeypatch.setattr(Matcher, "_picture", counted)

        def interrupt(done: int, total: int) -> None:
            steps.append(done)
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            match_images(CLIP.repeat(50, 1, 1, 1), LOOK, progress=interrupt, source_stats=mode)
        assert steps == [1, 2]
        # The reference, the frames that are done, and no more than there are threads for; nobody works on after the end.
        assert len(begun) == len(ended) <= 6 + 4 * torch.get_num_threads()
        assert all(workers.map_frames(lambda number: len(begun) == len(ended), range(9)))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"source_stats": "x"},
            ValueError,
            "source_stats: expected one of per_frame, uniform, target_frame, smoothed, got 'x'",
        ),
        ({"reference_stats": "x"}, ValueError, "reference_stats: expected one of paired, pooled, got 'x'"),
        ({"source_stats": "target_frame", "target_index": 6}, ValueError, "target_index: expected 0 to 5.*got 6"),
        ({"target_index": -1}, ValueError, "target_index: expected 0 or more, got -1"),
        ({"target_index": 1.0}, TypeError, "target_index: expected an int, got float"),
        ({"window": 0}, ValueError, "window: expected 1 or more, got 0"),
        ({"window": True}, TypeError, "window: expected an int, got bool"),
        (
            {"method": "skimage", "source_stats": "uniform"},
            ValueError,
            "source_stats: expected per_frame with .* skimage, since scikit-image compares two pictures, got uniform",
        ),
        (
            {"method": "exact", "source_stats": "smoothed"},
            ValueError,
            "source_stats: expected per_frame with .* exact, since it ranks the pixels of one frame, got smoothed",
        ),
        ({"color_space": "hsv"}, ValueError, "color_space: expected one of rgb, luminance, lab, oklab, ycbcr, got 'hsv'"),
        ({"rotations": 1}, ValueError, "rotations: expected 2 or more, got 1"),
        ({"rotations": 2.5}, TypeError, "rotations: expected an int, got float"),
        ({"image_mask": np.ones((1, 40, 60))}, TypeError, "image_mask: expected a torch.Tensor, got ndarray"),
        ({"image_mask": torch.ones(1, 40, 60).bool()}, TypeError, "image_mask: expected floating-point .*got torch.bool"),
        ({"image_mask": torch.ones(40, 60)}, ValueError, r"image_mask: .*\[1 or 6, H, W\].*got \[40, 60\]"),
        ({"image_mask": torch.ones(2, 40, 60)}, ValueError, r"image_mask: .*got \[2, 40, 60\]"),
        ({"image_mask": torch.ones(1, 0, 60)}, ValueError, r"image_mask: .*got \[1, 0, 60\]"),
        ({"image_mask": torch.full((1, 40, 60), NAN)}, ValueError, "image_mask: expected values from 0 to 1, got NaN"),
        (
            {"reference_mask": torch.ones(2, 4, 4)},
            ValueError,
            r"reference_mask: expected shape \[1 or 1, H, W\].*got \[2, 4, 4\]",
        ),
        ({"reference_mask": torch.full((1, 4, 4), NAN)}, ValueError, "reference_mask: expected values from 0 to 1, got NaN"),
    ],
)
def test_a_bad_argument_is_named(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        match_images(**{"image": CLIP, "reference": LOOK, **changed})


@pytest.mark.parametrize("method", METHODS)
def test_where_a_frame_is_measured_is_not_where_it_is_changed(method: str) -> None:
    image = torch.rand(20, 30, 3)
    look = counterpart(method, image[None], torch.rand(1, 9, 9, 3) ** 2)
    reference = Reference(look[0].movedim(-1, 0), "reference")
    left, top = torch.zeros(20, 30), torch.zeros(20, 30)
    left[:, :10], top[:5] = 1, 1

    def matched(mask: Tensor | None, change: Tensor | None) -> Tensor:
        frame = Frame(image.movedim(-1, 0), torch.empty_like(image).movedim(-1, 0), reference, mask, change)
        settings = MatchSettings(method, rotations=4)
        clip = Clip(lambda: [frame], list, (1, 1))
        (result,) = match_clip(clip, settings, torch.device("cpu"))
        return result.frame.out.movedim(0, -1)

    inside, outside = matched(left, top), matched(left, None)
    assert torch.equal(inside[5:], image[5:])
    assert torch.equal(inside[:5], outside[:5])
    assert not torch.equal(outside, matched(None, None))
    assert torch.equal(outside[:, :10], matched(left, left)[:, :10])
    assert torch.equal(matched(left, left)[:, 10:], image[:, 10:])


class TestGrayAndColor:
    """References of other channels than the images have, with values that do not count."""

    @pytest.mark.parametrize(
        ("method", "color_space"), [("mkl", "rgb"), ("reinhard", "rgb"), ("pytorch", "lab"), ("hm-mkl-hm", "rgb")]
    )
    @pytest.mark.parametrize("masked", [False, True])
    def test_gray_pictures_with_values_left_out(self, method: str, color_space: str, masked: bool) -> None:
        image, reference, mask = torch.rand(1, 12, 12, 1), torch.rand(1, 12, 12, 1) ** 2, torch.ones(1, 12, 12)
        mask[0, 3, 4] = 0
        expected = match_images(image, reference, method, color_space=color_space, reference_mask=mask)
        if masked:
            three = match_images(image.expand(-1, -1, -1, 3), reference, method, color_space=color_space, reference_mask=mask)
            torch.testing.assert_close(expected[..., 0], three.mean(-1), rtol=0, atol=1e-5)
        else:
            reference[0, 3, 4] = NAN
            with pytest.warns(RuntimeWarning, match="reference: left out 1 NaN"):
                matched = match_images(image, reference, method, color_space=color_space)
            torch.testing.assert_close(matched, expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize(("method", "color_space"), [("pytorch", "luminance"), ("mkl", "rgb"), ("sliced", "oklab")])
    def test_pooled_references_of_which_one_counts_in_part_or_not_at_all(
        self, method: str, color_space: str, channels: int
    ) -> None:
        image, references = torch.rand(1, 12, 12, 3), torch.rand(2, 12, 12, channels) ** 2
        options = {"reference_stats": "pooled", "color_space": color_space, "rotations": 4}
        expected = match_images(image, references[:1], method, **options)
        black = torch.ones(2, 12, 12)
        black[1] = 0
        assert torch.equal(match_images(image, references, method, reference_mask=black, **options), expected)
        references[1] = NAN
        with pytest.warns(RuntimeWarning, match="reference: left out"):
            matched = match_images(image, references, method, **options)
        torch.testing.assert_close(matched, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("source_stats", SOURCE_STATS)
def test_whatever_the_device_has_no_memory_for_is_told(source_stats: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def out_of_memory(self: Matcher, *_: object) -> None:
        if self.device.type == "meta":
            calls.append(source_stats)
            raise torch.cuda.OutOfMemoryError("none left")

    picture = Matcher._picture

    def fail_first(self: Matcher, *arguments: Any, **named: Any) -> Any:
        out_of_memory(self)
        return picture(self, *arguments, **named)

    monkeypatch.setattr(Matcher, "_picture", fail_first)
    image, reference = torch.rand(3, 6, 6, 3), torch.rand(1, 6, 6, 3)
    expected = match_images(image, reference, source_stats=source_stats)
    with pytest.warns(RuntimeWarning) as told:
        assert torch.equal(match_images(image, reference, source_stats=source_stats, device="meta"), expected)
    assert [str(warning.message) for warning in told] == [
        f"device: out of memory {len(calls)} times, there the CPU did the work"
    ]


def test_exact_levels_on_a_device_without_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    image, reference = torch.rand(1, 20, 20, 3), torch.rand(1, 20, 20, 3) ** 2
    expected = match_images(image, reference, "exact")
    monkeypatch.setattr(levels, "precise_dtype", lambda device: torch.float32)
    assert torch.equal(match_images(image, reference, "exact"), expected)


def test_a_stripe_can_be_counted_by_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_MOST", 1000)
    plane = torch.rand(3, 200, 100)
    assert workers.by_stripes(lambda stripe: stripe.shape[1], plane, pixels=0) == [10] * 20
    assert torch.equal(levels.count(plane), levels.count(plane.mT.contiguous()))
