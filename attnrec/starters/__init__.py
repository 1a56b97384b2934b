"""Files that `attnrec new` writes; each passes `attnrec check` unchanged."""
