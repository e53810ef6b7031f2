"""Matching within networks: modules, losses, a learned target, data pipelines, several processes."""
