"""Videos, judgements, sampling plans and caches; never imports torch.

In: the user's files. Out: frames, plans, caches and pairs for `model` and `pipeline`. Open
`sources.py` first, for which videos a command works on, then the rooms: `video/` reads frames,
`cache/` stores arrays, `judgements/` reads pairs, `synthetic/` draws videos of known skill.
"""
