"""Make the pictures of the README and of the workflow templates from scikit-image's photos chelsea and coffee."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from comfyui_histogram_match import Uniform, match_pil, specify_images
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
workflows = ROOT / "example_workflows"
pictures[-1].save(workflows / "histogram_match.jpg", quality=90)
match_pil(source, reference, "sliced").resize(pictures[0].size).save(workflows / "reference_histogram.jpg", quality=90)
pixels = torch.from_numpy(np.array(source).astype(np.float32) / 255)[None]
equalized = (specify_images(pixels, Uniform(), color_space="oklab")[0] * 255).round().byte().numpy()
Image.fromarray(equalized).resize(pictures[0].size).save(workflows / "histogram_specify.jpg", quality=90)
