"""``python -m comfyui_histogram_match`` is ``histogram-match``."""

from .command.run import main

raise SystemExit(main())
