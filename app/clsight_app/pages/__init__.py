"""The pages; each has a layout that is a function of the address, and callbacks of a few lines."""
