"""torch modules: `adapt` takes them, `build` makes one of a size, `probe` finds out how it is called (`form`), `run` runs it."""
