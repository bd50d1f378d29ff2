"""Every ranker, one module each: the paper's `full`, its ablations, and published rivals."""
