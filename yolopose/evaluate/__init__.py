"""Evaluation: precision, validation and verification."""
