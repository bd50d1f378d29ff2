"""Videos, judgements, sampling plans and caches; never imports torch.

In: the user's files. Out: frames, plans, caches and pairs for `model` and `pipeline`. Open
`sources.py` first, for which videos a command works on; `names.py` says which of them a name in a
table (`tables.py`) stands for. Then the rooms: `video/` reads frames, `cache/` stores arrays,
`judgements/` reads pairs, `synthetic/` draws videos of known skill.
"""
