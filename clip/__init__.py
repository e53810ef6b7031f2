"""Frames one after the other: settings, references, whose histogram counts, and how a transform follows a clip."""
