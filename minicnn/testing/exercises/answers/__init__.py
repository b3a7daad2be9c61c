"""The exercises with their answers, one file each. What a learner gets is the file without what is between the lines
that say where the answer begins and ends."""
