"""Measured comparisons and the sample data they need; nothing here is installed."""
