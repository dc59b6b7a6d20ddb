"""A comparison for people: tables, sentences and formats."""
