"""The nodes Save LUT and Load LUT."""

import logging
from importlib.util import find_spec

from comfy_api.latest import io, ui

from ..color_transform import ColorTransform
from ..luts.cube import difference
from ..luts.cube_files import SUFFIX, read_cube, write_cube
from ..luts.files import read_lut
from ..luts.kinds import SIZES, SUFFIXES
from .inputs import TRANSFORM, choice
from .kept_files import changed_at, file_name, find_file, find_file_or_raise, kept_files, output_folder

# Where other packs keep LUTs, too.
_FOLDER = "luts"
_NO_FILE = "none"
_READABLE = SUFFIXES if find_spec("PyOpenColorIO") else (SUFFIX,)


class SaveLUT(io.ComfyNode):
    """Write a transform to a .cube file, and say how near to it that is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        schema = io.Schema(
            node_id="ColorTransformSaveLUT",
            display_name="Save LUT",
            category="image/filters",
            description=(
                "Writes what Fit Color Transform has found as a .cube file, which video editors, cameras and Load LUT read. "
                "It says how far the file is from the transform."
            ),
            is_output_node=True,
            inputs=[
                TRANSFORM.Input("transform", tooltip="What Fit Color Transform puts out, by any method but sliced."),
                io.String.Input(
                    "name",
                    default="look",
                    tooltip=(
                        "The name of the file, in the folder luts in ComfyUI's output folder, where Load LUT finds it once "
                        "you have pressed r. A file of that name is replaced."
                    ),
                ),
                io.Combo.Input(
                    "size",
                    options=list(SIZES),
                    default=33,
                    tooltip=(
                        "How many points the LUT has along each axis. More are nearer to the transform, in larger files. "
                        "Where channels change apart, the LUT is 1D and exact, and this has no effect."
                    ),
                ),
            ],
            outputs=[],
        )
        # Not an argument above, since ComfyUI before 2026 does not know it.
        schema.search_aliases = ["save lut", "export lut", "write lut", "LUT", "3D LUT", "cube", "create lut"]
        return schema

    @classmethod
    def execute(cls, transform: ColorTransform, name: str, size: int) -> io.NodeOutput:
        """Write the file, then compare what it holds with the transform.

        Raises:
            OSError: the file cannot be written.
            ValueError: ``name`` is not the name of a file, or the transform is none of single colors.
        """
        name = file_name("name", name, SUFFIX)
        path = output_folder(_FOLDER) / (name + SUFFIX)
        title = "".join(character if character.isprintable() and character != '"' else " " for character in name)
        write_cube(path, transform.transform, size, title)
        written = read_cube(path)
        kind = "1D LUT" if written.table is None else f"3D LUT of {size} points"
        mean, largest = difference(transform.transform, written.transform())
        error = f"mean error {mean:.3f} and largest {largest:.2f} of 255 levels beside the exact transform"
        told = f"{kind} written to {path}; {error}"
        logging.info("Save LUT: %s", told)
        return io.NodeOutput(ui=ui.PreviewText(told))


class LoadLUT(io.ComfyNode):
    """Read a LUT of anyone as a transform."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the sockets and widgets."""
        schema = io.Schema(
            node_id="ColorTransformLoadLUT",
            display_name="Load LUT",
            category="image/filters",
            description="Reads a LUT, 1D or 3D, for Apply Color Transform.",
            inputs=[
                choice(
                    "lut",
                    kept_files(_FOLDER, _READABLE) or [_NO_FILE],
                    "A .cube file, from the folder luts among ComfyUI's models or in its output folder. "
                    "Press r to see new files. With OpenColorIO installed, .clf files as well.",
                )
            ],
            outputs=[TRANSFORM.Output(display_name="transform", tooltip="Goes into Apply Color Transform.")],
        )
        schema.search_aliases = ["load lut", "LUT", "3D LUT", "1D LUT", "cube", "clf", "film look"]
        return schema

    @classmethod
    def fingerprint_inputs(cls, lut: str | None = None) -> float:
        """When the file was last changed, so that it is read again then."""
        return changed_at(find_file(_FOLDER, lut, _READABLE))

    @classmethod
    def execute(cls, lut: str) -> io.NodeOutput:
        """Read the file.

        Raises:
            OSError: it cannot be read.
            ValueError: there is no such file in the folders, or it is damaged; the line that is wrong is named.
        """
        path = find_file_or_raise("lut", _FOLDER, lut, _READABLE)
        return io.NodeOutput(ColorTransform(read_lut(path).transform()))
