"""Videos, annotations, sampling plans and caches; never imports torch."""
