"""The maths on tensors: soft and fast evaluation, quantiles, affine maps, and the threads that share the work."""
