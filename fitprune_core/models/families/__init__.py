"""One file a family: what `family.Family` asks of it. `family.FAMILIES` is the list."""
