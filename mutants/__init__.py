"""Mutants: do the tests notice when one place of the code is changed? See README.md in this folder."""
