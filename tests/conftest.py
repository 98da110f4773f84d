"""Puts tests/ on the import path: `twins` is shared by the tests of the core."""
