"""A comparison for people: tables, sentences, and the formats they are written in."""
