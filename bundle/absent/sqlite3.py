"""In place of sqlite3, which pyroute2 imports for its network database, and which would add 1.5 MB to the bundle."""
