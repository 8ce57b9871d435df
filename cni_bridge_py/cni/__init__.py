"""The CNI protocol: parameters in, results and errors out. Knows nothing of Linux networking."""
