"""MT-Bench, category coding, with its judge."""
