"""What is kept in files: arrays, and the transforms and references that are made of them."""
