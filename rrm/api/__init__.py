"""HTTP: validate, call one use-case, answer. No state is written here."""
