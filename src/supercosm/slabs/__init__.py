"""Statistics of boxes larger than memory: particles are sorted into slabs on disk, and each slab is measured alone."""
