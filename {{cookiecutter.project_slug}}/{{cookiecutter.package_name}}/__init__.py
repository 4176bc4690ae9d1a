"""One stage of the pipeline a module: fetch, prepare, train, export, evaluate."""
