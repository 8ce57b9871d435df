"""What can be tested without root: each module through its public functions."""
