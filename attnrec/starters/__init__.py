"""Files that `attnrec new` writes, each right as it stands."""
