"""Tests of install.sh, into directories of their own."""
