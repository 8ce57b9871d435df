"""The benchmark's own arithmetic, tables and chart, and that a short run measures what it says."""
