"""Names of what a remat policy may keep of attention (see `transformer.REMAT_POLICIES`)."""

# Products with weights: queries, keys and values in the layout of the backend.
PROJECTION = "projection"
# What attention makes of them: all that its backward pass needs beside the projections.
ATTENTION = "attention"
