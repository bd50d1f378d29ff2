"""What the user types and sees: flags, configuration files, log lines and words.

In: the command line. Out: option dataclasses; text on stdout and stderr.
Open `flags.py` first: a field of a dataclass becomes a flag, a configuration key and a keyword;
`common.py` has the flags of every command.
"""
