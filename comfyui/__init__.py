"""The nodes beside Image Histogram Match, and what the inputs of all share."""
