"""The benchmark: `sudo bench/run` compares the plugin with the reference ones. See README.md here."""
