"""What the nodes keep in files: names that stay in their folder, and the folders in which files are looked for again."""

from pathlib import Path

import folder_paths


def file_name(argument: str, name: str, suffix: str) -> str:
    """The name of a file without its ending; a ValueError if it is none, or would lie in another folder."""
    name = name.strip().removesuffix(suffix)
    # Either kind of separator, whatever the system: a workflow may come from elsewhere.
    if not name or name != Path(name).name or "\\" in name or ":" in name or name.startswith("."):
        raise ValueError(f"{argument}: expected the name of a file, without folders, got {name!r}")
    return name


def output_folder(folder: str) -> Path:
    """Where files are written."""
    return Path(folder_paths.get_output_directory(), folder)


def kept_files(folder: str, suffixes: tuple[str, ...]) -> list[str]:
    """The files with these endings in a folder in ComfyUI's output folder and in the one among its models, as of now."""
    for path in (output_folder(folder), Path(folder_paths.models_dir, folder)):
        # Each time, since another pack that has such a folder may have put its own in place of all.
        folder_paths.add_model_folder_path(folder, str(path))
    return [name for name in folder_paths.get_filename_list(folder) if name.lower().endswith(suffixes)]


def find_file(folder: str, name: str | None, suffixes: tuple[str, ...]) -> Path | None:
    """Where one of :func:`kept_files` is; None for any other name."""
    if name not in kept_files(folder, suffixes):
        return None
    # What a node has written is meant by its name, whatever there is among the models.
    written = output_folder(folder) / name
    return written if written.is_file() else Path(folder_paths.get_full_path_or_raise(folder, name))


def find_file_or_raise(argument: str, folder: str, name: str, suffixes: tuple[str, ...]) -> Path:
    """As :func:`find_file`, but a ValueError for any other name, which may have come from another node."""
    path = find_file(folder, name, suffixes)
    if path is None:
        raise ValueError(f"{argument}: expected a file in the folder {folder} in ComfyUI's output or models, got {name!r}")
    return path


def changed_at(path: Path | None) -> float:
    """When a file was last changed; 0 for none."""
    return 0.0 if path is None else path.stat().st_mtime
