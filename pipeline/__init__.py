"""The command line and one file per stage."""
