"""The page on which experts compare videos, and what becomes of its answers."""
