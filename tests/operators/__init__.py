"""The table of operators: what is called, with which drawn arguments, and what must be refused."""
