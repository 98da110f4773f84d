"""Puts tests/ on the import path: `helpers` is shared by all tests."""
