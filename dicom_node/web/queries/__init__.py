"""The questions that pages and API ask of the database: a subject a module, few statements, typed answers."""
