"""Make the pictures of the README and of the workflow template from scikit-image's photos chelsea and coffee."""

from __future__ import annotations

from pathlib import Path

from comfyui_histogram_match import match_pil
from PIL import Image
from skimage import data

ROOT = Path(__file__).parents[1]
HEIGHT = 300

source, reference = Image.fromarray(data.chelsea()), Image.fromarray(data.coffee())
pictures = [
    picture.resize((picture.width * HEIGHT // picture.height, HEIGHT))
    for picture in (source, reference, match_pil(source, reference))
]
row = Image.new("RGB", (sum(picture.width for picture in pictures) + 20, HEIGHT), "white")
left = 0
for picture in pictures:
    row.paste(picture, (left, 0))
    left += picture.width + 10
row.save(ROOT / "docs" / "before_reference_after.jpg", quality=90)
pictures[-1].save(ROOT / "example_workflows" / "histogram_match.jpg", quality=90)
