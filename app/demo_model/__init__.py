"""How the embedded demonstration model was made: its scenes, its questions, its training program."""
