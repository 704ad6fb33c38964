"""One question a file: each has a `run(bench)` that returns its `Section`."""
