"""Uploads to the hub."""
