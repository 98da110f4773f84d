"""Pytest puts the folder of this file on the import path, so that all tests can import the package `helpers`."""
