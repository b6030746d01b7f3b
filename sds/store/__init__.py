"""Floor 4: what must survive. The only user of SQLAlchemy: SQLite or PostgreSQL behind one set of repositories."""
