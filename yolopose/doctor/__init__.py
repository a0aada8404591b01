"""The data set doctor: what is wrong with a data set, as text, JSON and an HTML page; it never writes into the data."""

from yolopose.doctor.report import Report, doctor, run

__all__ = ["Report", "doctor", "run"]
