"""README and docs/: what a reader can type is typed, what is shown is compared, what is linked is there."""
