"""Look-up tables of colors, as files and as parts of a transform."""
