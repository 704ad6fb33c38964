"""How the embedded demonstration model was made: the scenes it saw, the questions it was asked, its training program."""
