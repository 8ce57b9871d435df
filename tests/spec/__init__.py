"""The specification, sentence by sentence: what it asks of a plugin, and the test that shows it."""
