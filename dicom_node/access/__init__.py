"""Who may use the web side of the node: users and roles, sessions, API keys, signed requests."""
