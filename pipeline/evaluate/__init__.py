"""Cross-validation of ranker variants beside baselines and published numbers.

In: feature caches and judgements. Out: tables as text, CSV, JSON, Markdown and LaTeX.
Open `command.py` first.
"""
