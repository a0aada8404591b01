"""Plots by matplotlib, of plain names, numbers and curves."""
