"""The command line for people: demo and explain."""
