"""One stage of the pipeline a module: compose, fetch, prepare, train, export, evaluate."""
