"""``python -m comfyui_histogram_match`` is ``histogram-match``."""

from .command import main

raise SystemExit(main())
