"""Values and words: the ground floor, standard library only."""
