"""Pictures of histograms."""
