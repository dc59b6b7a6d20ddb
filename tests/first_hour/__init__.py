"""A new user's first hour, walked by a script that keeps a picture of every screen."""
