"""Which LUTs there are, known without torch."""

SUFFIXES = (".cube", ".clf")
"""The endings of files that can be read and written, the latter with OpenColorIO."""
SIZES = (17, 33, 65)
"""Of how many points along each axis a table can be written."""
