"""Nodes with which the tests get tensors of any shape into a running ComfyUI and out of it again."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import folder_paths
import torch
from comfy_api.latest import InputImpl
from torch import Tensor

# As some packs do that are loaded after others, which loses the folders of those.
folder_paths.folder_names_and_paths["luts"] = ([f"{folder_paths.base_path}/luts of another pack"], {".cube"})


class ProbeLoad:
    """An IMAGE from a file of torch.save, of any shape."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"path": ("STRING", {})}}

    def run(self, path: str) -> tuple[Tensor]:
        return (torch.load(path),)


class ProbeLoadMask(ProbeLoad):
    """A MASK from a file of torch.save, of any shape."""

    RETURN_TYPES = ("MASK",)


class ProbeSave:
    """An IMAGE into a file of torch.save."""

    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    FUNCTION = "run"
    CATEGORY = "probe"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "path": ("STRING", {})}}

    def run(self, image: Tensor, path: str) -> dict[str, Any]:
        torch.save(image, path)
        return {}


class ProbeSaveVideo:
    """A copy of the file that a VIDEO is."""

    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    FUNCTION = "run"
    CATEGORY = "probe"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"video": ("VIDEO",), "folder": ("STRING", {})}}

    def run(self, video: Any, folder: str) -> dict[str, Any]:
        path = Path(video.get_stream_source())
        shutil.copy(path, Path(folder, "result").with_suffix(path.suffix))
        return {}


class ProbeVideoInMemory(ProbeLoad):
    """A VIDEO that is the content of a file, as some nodes hand over what they have downloaded."""

    RETURN_TYPES = ("VIDEO",)

    def run(self, path: str) -> tuple[Any]:
        return (InputImpl.VideoFromFile(BytesIO(Path(path).read_bytes())),)


class ProbeText:
    """A text where a node has a choice."""

    # Equal to any type, as the wildcard nodes of other packs are.
    RETURN_TYPES = ("*",)
    FUNCTION = "run"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"text": ("STRING", {})}}

    def run(self, text: str) -> tuple[str]:
        return (text,)


NODE_CLASS_MAPPINGS = {
    node.__name__: node for node in (ProbeLoad, ProbeLoadMask, ProbeSave, ProbeSaveVideo, ProbeVideoInMemory, ProbeText)
}
