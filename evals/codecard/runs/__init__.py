"""The life of a run: plan, pipeline, folder, the one scorer, and what is made of folders."""
