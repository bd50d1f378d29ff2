"""Cross-validation of ranker variants, compared with baselines and published numbers.

In: feature caches and judgements. Out: tables as text, CSV, JSON, Markdown and LaTeX, and one file
for each run. Open `command.py` first; `plan.py` decides on runs, `runs.py` does one, `output.py`
writes the tables.
"""
