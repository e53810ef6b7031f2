"""The command ``histogram-match``: image and video files, without ComfyUI."""
