"""Every option and runtime parameter: what a user notices of it."""
