"""The changes of the schema, each building on the one before."""
