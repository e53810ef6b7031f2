"""Video files: read frame by frame, and written anew with all else that is in them."""
