"""A compiled model as a library in the layout that another build system expects."""
