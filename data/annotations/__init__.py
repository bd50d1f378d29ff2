"""Readers of published annotation formats, one module a format; `reading.read_dataset` picks."""
